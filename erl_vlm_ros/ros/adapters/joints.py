# SPDX-License-Identifier: Apache-2.0
"""What the adapters for joint controllers share: URDF, joint order, our own inverse kinematics."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.follower import FollowerSettings, JointFollower, halted
from erl_vlm_ros.robot.ik import JointMotion
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros.adapters.base import ArmAdapter, Gripper, NotSent, Vector, finite
from erl_vlm_ros.ros.adapters.robot_model import wait_for_kinematics, watch_for_kinematics

#: s: a position or trajectory that holds the arm is repeated for this long. The controller then holds it by itself,
#: and an arm that a person moves while we are silent is not pulled back to where it was.
HOLD_S = 1.0


class JointAdapter(ArmAdapter):
    """Joint commands from tool velocities; needs a URDF and joint_states."""

    def __init__(self, node: Any, p: Any, gripper: Gripper) -> None:
        super().__init__(node, p, gripper)
        if p.lock_step:
            text = f"parameter 'adapter' is '{p.adapter}', which needs parameter 'lock_step' false"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="safety_guard.adapter")
        self._follower: JointFollower
        self._order: list[int] = []  # ours -> the controller's
        self._moved_at = -np.inf  # monotonic s of the last command that moved

    def prepare(self) -> None:
        """Waits for the URDF and checks the joint names against it."""
        super().prepare()
        self.use(wait_for_kinematics(self.node, self.p, f"adapter '{self.p.adapter}'"))
        if not self.p.urdf_file:
            watch_for_kinematics(self.node, self.p, self.described)  # a later one must not go unnoticed

    def use(self, kinematics: Kinematics) -> None:
        """Take these kinematics. ConfigError when the parameter controller_joints does not name exactly its joints."""
        p = self.p
        settings = FollowerSettings(p.joint_speed_fraction, p.orientation_gain, p.max_joint_error_rad)
        self._follower = JointFollower(kinematics, settings)
        self._order = joint_order(kinematics, p.controller_joints)
        self.kinematics = kinematics

    @property
    def joint_names(self) -> list[str]:
        """In the controller's order."""
        return [self.kinematics.joint_names[i] for i in self._order]

    def send(self, linear: Vector, angular: Vector, stamp_ns: int) -> str:
        """Move the tool. Returns the reason when a joint limit or a singularity leaves nothing of the motion."""
        return self._send(lambda q: self._follower.tool(q, np.array(linear), np.array(angular)), stamp_ns)

    def send_joints(self, velocity: Mapping[str, float], stamp_ns: int) -> str:
        """Move the joints; joints that are not named stand still."""
        wanted = np.array([velocity.get(name, 0.0) for name in self.kinematics.joint_names])
        return self._send(lambda q: self._follower.joints(q, wanted), stamp_ns)

    def _send(self, motion_at: Any, stamp_ns: int) -> str:
        missing = self.kinematics.missing(self._positions)
        if missing:
            known = ", ".join(self._positions) or "nothing"
            return f"joint_states lacks {', '.join(missing)} (it has {known})"
        q = self.kinematics.vector(self._positions)
        finite(q, "joint_states")
        motion: JointMotion = motion_at(q)
        finite(motion.velocity, "the motion")
        now = time.monotonic()
        period = 1.0 / self.p.rate_hz
        seconds = min(now - self._moved_at, 2.0 * period) if now - self._moved_at < HOLD_S else period
        leap = self._leap(q, seconds)
        if leap:
            return leap
        self._moved_at = now
        self._move(q, motion.velocity, seconds, stamp_ns)
        self.passed = motion.scale
        return motion.reason if halted(motion) else ""

    def _leap(self, q: np.ndarray, seconds: float) -> str:
        """Why the reference would leap: the arm is measured where no command has sent it. It restarts after a stop."""
        reference = self._follower.reference
        if reference is None:
            return ""
        max_error, limits = self._follower.settings.max_error, self._follower.limits
        drawn = np.clip(reference, q - max_error, q + max_error) - reference
        far = np.abs(drawn) > limits * seconds + 0.02
        names = self.kinematics.joint_names
        return (
            f"{names[int(np.argmax(far))]} is measured {max_error:g} rad and more from its reference"
            if far.any()
            else ""
        )

    def stop(self, stamp_ns: int) -> None:
        """Stand still."""
        holding = self.may_hold()
        reference = self._follower.reference
        if holding and reference is not None:
            self._hold(reference, stamp_ns)
        elif not holding:
            self._follower.stop()
        self._stop(stamp_ns)

    def may_hold(self) -> bool:
        """Whether the arm is still held by what we sent: later a person may have moved it, and it must not leap back.

        Needs no state but a time; where even that cannot be told, the arm is held.
        """
        try:
            return time.monotonic() - self._moved_at < HOLD_S
        except Exception:
            return True

    def in_order(self, values: np.ndarray) -> list[float]:
        """Values [J] in the controller's order. NotSent when one is not finite."""
        finite(values, "the joint command")
        return [float(values[i]) for i in self._order]

    def within_speeds(self, velocity: np.ndarray) -> np.ndarray:
        """``velocity`` [J] rad/s. NotSent when a joint is faster than joint_speed_fraction of its limit."""
        fast = np.abs(velocity) > self._follower.limits * (1.0 + 1e-6)
        if fast.any():
            raise NotSent(f"{self.kinematics.joint_names[int(np.argmax(fast))]} would be faster than its limit")
        return velocity

    def within_limits(self, reference: np.ndarray) -> np.ndarray:
        """``reference`` [J] rad. NotSent when a joint would leave its position limits."""
        arm = self.kinematics
        out = (reference < arm.lower - 1e-9) | (reference > arm.upper + 1e-9)
        if out.any():
            raise NotSent(f"{arm.joint_names[int(np.argmax(out))]} would leave its limits")
        return reference

    @abstractmethod
    def _move(self, q: np.ndarray, velocity: np.ndarray, seconds: float, stamp_ns: int) -> None:
        """Command ``velocity`` [J]; the last command came ``seconds`` ago."""

    def _hold(self, reference: np.ndarray, stamp_ns: int) -> None:
        """Keep the arm at ``reference`` [J]."""

    def _stop(self, stamp_ns: int) -> None:
        """What is sent at every stop."""


def joint_order(kinematics: Kinematics, wanted: Sequence[str] | None) -> list[int]:
    """For each of ``wanted`` its index among our joints; None: as they are.

    Raises:
        ConfigError: not exactly our joints.
    """
    own = kinematics.joint_names
    if wanted is None:
        return list(range(len(own)))
    if sorted(wanted) != sorted(own):
        text = (
            f"parameter 'controller_joints' is {', '.join(wanted)}; it must name exactly the joints between "
            f"'{kinematics.base_frame}' and '{kinematics.tool_frame}': {', '.join(own)}"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="controller_joints")
    return [own.index(name) for name in wanted]
