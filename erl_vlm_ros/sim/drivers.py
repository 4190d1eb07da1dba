# SPDX-License-Identifier: Apache-2.0
"""What stands between a command topic and a real arm, imitated: MoveIt Servo and ros2_control's controllers.

Each takes its own kind of command and gives, every ``tick`` seconds, the joint reference [6] that the drives follow.
Their habits are kept, the dangerous ones too: Servo halts when commands are older than its time-out, judged by their
stamps; a forward_command_controller obeys its last command for ever; a joint_trajectory_controller stops at the last
point. No ROS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.robot.follower import FollowerSettings, JointFollower
from erl_vlm_ros.robot.kinematics import Kinematics

SERVO_TIMEOUT_S = 0.1  # incoming_command_timeout of MoveIt Servo
_AS_SERVO = FollowerSettings(speed_fraction=1.0, orientation_gain=0.0, max_error=0.1)
_NS = 1_000_000_000


class Refused(DataError):
    """A command that a real driver would not obey either."""


class Driver(ABC):
    """Common part. ``joints``: the controller's order. ``timeout_s``: without a command for this long the arm is
    halted; 0: never.
    """

    def __init__(self, kinematics: Kinematics, tick: float, joints: Sequence[str], timeout_s: float) -> None:
        self.kinematics, self.tick, self.timeout_s = kinematics, tick, timeout_s
        self._order = [list(joints).index(name) for name in kinematics.joint_names]
        self.reset(np.zeros(len(self._order)))

    def reset(self, q: np.ndarray) -> None:
        """The arm stands at ``q`` [6]; earlier commands are forgotten."""
        self.reference = np.array(q, dtype=np.float64)
        self._at = None  # ns of the newest command

    def step(self, q: np.ndarray, now_ns: int) -> np.ndarray:
        """The reference one tick later. ``q`` [6]: measured."""
        if self._at is None:
            return self.reference
        if self.timeout_s > 0.0 and now_ns - self._at >= self.timeout_s * _NS:
            self._halt()
            self._at = None
            return self.reference
        self.reference = self._move(q, now_ns)
        return self.reference

    @abstractmethod
    def _move(self, q: np.ndarray, now_ns: int) -> np.ndarray: ...

    def _halt(self) -> None:  # noqa: B027  by option
        """Commands have ceased: stay at the reference."""

    def _array(self, values: Sequence[float]) -> np.ndarray:
        """A controller's array, in its order, as ours."""
        if len(values) != len(self._order):
            text = f"command size ({len(values)}) does not match number of interfaces ({len(self._order)})"
            raise Refused(text, field="size")
        if not np.isfinite(values).all():
            raise Refused("non-finite value; the message is dropped", field="values")
        return np.asarray(values, dtype=np.float64)[self._order]

    def _towards(self, q: np.ndarray, target: np.ndarray) -> np.ndarray:
        """As far towards ``target`` as the drives' speed, the joint limits and the largest tracking error let them."""
        arm = self.kinematics
        step = np.clip(target - self.reference, -arm.velocity * self.tick, arm.velocity * self.tick)
        reached = np.clip(self.reference + step, arm.lower, arm.upper)
        return np.clip(reached, q - _AS_SERVO.max_error, q + _AS_SERVO.max_error)


class ServoDriver(Driver):
    """MoveIt Servo: a tool velocity in the base frame, obeyed while its stamp is younger than the time-out."""

    def __init__(self, kinematics: Kinematics, tick: float, joints: Sequence[str], timeout_s: float) -> None:
        self._follower = JointFollower(kinematics, _AS_SERVO)
        super().__init__(kinematics, tick, joints, timeout_s)

    def reset(self, q: np.ndarray) -> None:
        super().reset(q)
        self._follower.stop()
        self._twist = np.zeros(6)

    def command(self, linear: Sequence[float], angular: Sequence[float], stamp_ns: int) -> None:
        """m/s and rad/s. Refused: not finite."""
        twist = np.array([*linear, *angular], dtype=np.float64)
        if not np.isfinite(twist).all():
            raise Refused("twist is not finite", field="twist")
        self._twist, self._at = twist, stamp_ns

    def _move(self, q: np.ndarray, now_ns: int) -> np.ndarray:
        motion = self._follower.tool(q, self._twist[:3], self._twist[3:])
        return self._follower.advance(q, motion.velocity, self.tick).copy()

    def _halt(self) -> None:
        self._follower.stop()


class VelocityDriver(Driver):
    """forward_command_controller on velocity interfaces: without a time-out it turns for ever."""

    def reset(self, q: np.ndarray) -> None:
        super().reset(q)
        self._velocity = np.zeros(len(self._order))

    def command(self, values: Sequence[float], now_ns: int) -> None:
        """rad/s in the controller's order. Refused: a wrong number of values, or not finite."""
        self._velocity, self._at = self._array(values), now_ns

    def _move(self, q: np.ndarray, now_ns: int) -> np.ndarray:
        return self._towards(q, self.reference + self._velocity * self.tick)


class PositionDriver(Driver):
    """forward_command_controller on position interfaces: goes there as fast as the drives can, and stays."""

    def reset(self, q: np.ndarray) -> None:
        super().reset(q)
        self._target = self.reference

    def command(self, values: Sequence[float], now_ns: int) -> None:
        """rad in the controller's order. Refused: a wrong number of values, or not finite."""
        self._target, self._at = self._array(values), now_ns

    def _move(self, q: np.ndarray, now_ns: int) -> np.ndarray:
        return self._towards(q, self._target)


class TrajectoryDriver(Driver):
    """joint_trajectory_controller: straight lines from point to point, then it holds the last one."""

    def reset(self, q: np.ndarray) -> None:
        super().reset(q)
        self._times: np.ndarray = np.zeros(0)  # s from the start
        self._points: np.ndarray = np.zeros((0, len(self._order)))

    def command(self, names: Sequence[str], points: Sequence[Sequence[float]], times: Sequence[float], now_ns: int):
        """Positions [n, 6] rad in the order of ``names`` at ``times`` [n] s from now.

        Refused: other joints than all of ours, no points, times that do not rise, numbers that are not finite.
        """
        own = self.kinematics.joint_names
        if sorted(names) != sorted(own):
            text = f"trajectory for {', '.join(names) or 'no joint'}; the controller has {', '.join(own)}"
            raise Refused(text, field="joint_names")
        if not points or any(len(point) != len(names) for point in points):
            text = "trajectory without points, or a point without a position for every joint"
            raise Refused(text, field="points")
        at = np.asarray(times, dtype=np.float64)
        if at[0] < 0.0 or np.any(np.diff(at) <= 0.0):
            raise Refused("time_from_start must rise from point to point", field="time_from_start")
        array = np.asarray(points, dtype=np.float64)[:, [list(names).index(name) for name in own]]
        if not np.isfinite(array).all():
            raise Refused("trajectory with a position that is not finite", field="positions")
        self._times = np.concatenate([[0.0], np.maximum(at, 1e-6)])
        self._points = np.vstack([self.reference, array])
        self._at = now_ns

    def _move(self, q: np.ndarray, now_ns: int) -> np.ndarray:
        since = (now_ns - self._at) / _NS + self.tick  # where the arm should be at the end of the tick
        target = np.array([np.interp(since, self._times, column) for column in self._points.T])
        return self._towards(q, target)


DRIVERS = {
    "servo_twist": ServoDriver,
    "joint_velocity": VelocityDriver,
    "joint_position": PositionDriver,
    "joint_trajectory": TrajectoryDriver,
}


def make_driver(
    name: str, kinematics: Kinematics, tick: float, joints: Sequence[str] | None, timeout_s: float | None = None
) -> Driver:
    """``joints``: the controller's order; None: the arm's. ``timeout_s`` None: what the real driver has.

    Raises:
        ConfigError: ``joints`` are not exactly the arm's.
    """
    joints = kinematics.joint_names if joints is None else joints
    if sorted(joints) != sorted(kinematics.joint_names):
        text = (
            f"parameter 'controller_joints' is {', '.join(joints)}; "
            f"it must name exactly {', '.join(kinematics.joint_names)}, in any order"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="controller_joints")
    if timeout_s is None:
        timeout_s = SERVO_TIMEOUT_S if name == "servo_twist" else 0.0
    return DRIVERS[name](kinematics, tick, joints, timeout_s)
