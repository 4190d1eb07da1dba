# SPDX-License-Identifier: Apache-2.0
"""safety_guard: the only publisher of the arm's command topics.

Takes policy/twist, policy/gripper and policy/joint_trajectory (home), limits them (`erl_vlm_ros.safety`) and hands
them to the arm's adapter; what was let through is on ~/executed. Starts disarmed. Services ~/arm (SetBool),
~/estop and ~/clear_estop (Trigger). Says what it does and why on ~/armed and ~/estop_state (latched), ~/reason and
/diagnostics. It never clears a fault of the robot.

Whatever goes wrong inside, in a tick, a callback or an adapter: the arm is stopped from values that need no state
(`ArmAdapter.last_resort`), and the fault latches until a person clears it and arms again.

Lock-step: a command is answered at once, under its own stamp, and judged with the ee_pose of that stamp; a
refused command is not answered: the simulation stands still. Real time: one motion each period, zeros when
commands may not pass.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.robot.homing import Homing
from erl_vlm_ros.ros import convert, qos, realtime
from erl_vlm_ros.ros.adapters import make_adapter
from erl_vlm_ros.ros.adapters.base import NotSent
from erl_vlm_ros.ros.guard_sources import GuardSources
from erl_vlm_ros.ros.guard_state import GuardState
from erl_vlm_ros.ros.guarded_node import GuardedNode
from erl_vlm_ros.ros.node_base import run
from erl_vlm_ros.ros.rivals import Rivals
from erl_vlm_ros.ros.watchdog_link import WatchdogLink
from erl_vlm_ros.safety.config import guard_limits
from erl_vlm_ros.safety.control_period import ControlPeriods
from erl_vlm_ros.safety.core import GuardCore, Motion
from erl_vlm_ros.safety.envelope import Rejected, limit_width
from erl_vlm_ros.safety.faults import Fault, Refusal, Unready
from erl_vlm_ros.safety.last_look import beyond
from erl_vlm_ros.safety.stamps import one_moment
from erl_vlm_ros.safety.watchdog import ARMED

_LAST_ZEROS = 5  # sent on shutdown: a forward controller would hold the last velocity for ever


class SafetyGuard(GuardedNode):
    """ROS side of GuardCore."""

    NAME = "safety_guard"

    def __init__(self) -> None:
        self._rivals: Rivals | None = None  # none in a node whose parameters are refused
        super().__init__(self.NAME)
        self.limits = guard_limits(self.p, load_task(self.p.task))
        self.core = GuardCore(self.limits)
        self.adapter = make_adapter(self, self.p)
        self.adapter.prepare()
        self.watchdog = WatchdogLink(self, self.core, self.p, len(getattr(self.adapter, "joint_names", ())))
        self._rivals = Rivals(self, self.core, self.p.rivals, ["guard_watchdog"], lambda: self.state.announce_change())
        self._periods = ControlPeriods(self.limits.linear.dt)
        self._ee: tuple[int, tuple[float, float, float]] | None = None  # lock-step: stamp ns, position m
        self._twist: tuple[int, tuple, tuple, str] | None = None  # lock-step: stamp, m/s, rad/s, frame
        self._answered: tuple[tuple, Motion] | None = None  # lock-step: what is asked again is answered the same
        self._home_target: dict[str, float] = {}
        self._make_topics()
        if self.p.lock_step:
            self._listen_lock_step()
        else:
            self._listen_real_time()
        self.add_on_set_parameters_callback(self._keep_clock)
        self.state.announce()

    def _make_topics(self) -> None:
        self._pub_executed = self.create_publisher(TwistStamped, names.EXECUTED, qos.command())
        self.state = GuardState(self, self.core, self._figures)
        self.create_subscription(Float64MultiArray, names.POLICY_GRIPPER, self._on_gripper, qos.command())
        self.create_service(SetBool, names.ARM, self._on_arm)
        self.create_service(Trigger, names.ESTOP, self._on_estop)
        self.create_service(Trigger, names.CLEAR_ESTOP, self._on_clear_estop)

    def _listen_lock_step(self) -> None:
        sensor = qos.sensor(self.p.reliable_sensors)
        self.create_subscription(TwistStamped, names.POLICY_TWIST, self._on_twist_lock_step, qos.command())
        self.create_subscription(PoseStamped, names.EE_POSE, self._on_ee_lock_step, sensor)
        if self.p.joint_margin > 0 or self.p.adapter != "servo_twist":
            self._listen_to_joints(sensor)

    def _listen_real_time(self) -> None:
        sensor = qos.sensor(self.p.reliable_sensors)
        self.create_subscription(TwistStamped, names.POLICY_TWIST, self._on_twist, qos.command())
        self.create_subscription(JointTrajectory, names.POLICY_HOME, self._on_home, qos.command())
        self.create_subscription(PoseStamped, names.EE_POSE, self._on_ee, sensor)
        self._listen_to_joints(sensor)
        cameras = self.p.cameras or ()
        GuardSources(self, self.core.inputs, self.limits.timeouts, cameras, self.state.announce_change)
        self.get_logger().info(realtime.prefer(self.p.realtime_priority))
        self._tick_callback = self.guarded(self._tick, "a tick")
        self.create_timer(self.limits.linear.dt, self._tick_callback, clock=self.steady_clock)

    def _listen_to_joints(self, sensor: Any) -> None:
        for topic in self.p.joint_state_topics:
            self.create_subscription(JointState, topic, self._on_joints, sensor)

    def _clock_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    # -- messages in

    def _on_twist(self, message: TwistStamped) -> None:
        problem = self.core.command(
            convert.linear_of(message), convert.angular_of(message), message.header.frame_id,
            convert.header_ns(message), *one_moment(self._clock_ns, time.monotonic),
        )  # fmt: skip
        if problem:
            self.state.explain(f"rejected: {problem}")

    def _on_ee(self, message: PoseStamped) -> None:
        position, stamp, turn = convert.position_of(message), convert.header_ns(message), message.pose.orientation
        self.core.inputs.update_pose(
            position,
            message.header.frame_id,
            stamp,
            *one_moment(self._clock_ns, time.monotonic),
            (turn.x, turn.y, turn.z, turn.w),
        )

    def _on_joints(self, message: JointState) -> None:
        inputs = self.core.inputs
        if inputs.kinematics is not self.adapter.kinematics:
            inputs.adopt(self.adapter.kinematics)
        stamp, (clock, now) = convert.header_ns(message), one_moment(self._clock_ns, time.monotonic)
        problem = inputs.update_joint_state(message.name, message.position, stamp, clock, now)
        if problem:
            self.state.explain(f"rejected: {problem}")
        else:  # the adapter's Jacobian knows accepted positions only
            self.adapter.joint_state(inputs.positions)

    def _on_home(self, message: JointTrajectory) -> None:
        arm = self.adapter.kinematics
        try:
            if arm is None:
                text = "homing needs the arm's URDF: set urdf_file or publish robot_description"
                raise ConfigError(text, code=Code.NOT_GIVEN, parameter="safety_guard.urdf_file")
            target = _home_of(message)
            again = self.core.homing is not None and target == self._home_target
            homing = None if again else Homing(arm, target)
        except ConfigError as error:
            self.state.explain(f"rejected: {error}")
            return
        problem = self.core.home(homing, time.monotonic())
        if problem:
            self.state.explain(f"rejected: {problem}")
            return
        self._home_target = target

    def _permitted(self) -> bool:
        """Whether a command may pass now; one that may not is counted, with the reason."""
        verdict = self.core.permission(time.monotonic())
        if not verdict.moving:
            self.core.counts["blocked"] += 1
            self.state.explain(verdict.reason)
        return verdict.moving

    def _on_gripper(self, message: Float64MultiArray) -> None:
        if not self._permitted():
            return
        try:
            width, stamp = convert.width_of(message)
            width = limit_width(width, self.limits.envelope)
        except ValueError as reason:
            self.core.counts["rejected"] += 1
            self.state.explain(f"rejected: {reason}")
            return
        self.adapter.gripper(width, max(stamp, 0))

    # -- lock-step

    def _on_ee_lock_step(self, message: PoseStamped) -> None:
        if message.header.frame_id != self.p.base_frame:
            self.state.explain(f"ee_pose in frame '{message.header.frame_id}', expected '{self.p.base_frame}'")
            return
        self._ee = (convert.header_ns(message), convert.position_of(message))
        self._pair()

    def _on_twist_lock_step(self, message: TwistStamped) -> None:
        linear, angular = convert.linear_of(message), convert.angular_of(message)
        self._twist = (convert.header_ns(message), linear, angular, message.header.frame_id)
        self._pair()

    def _pair(self) -> None:
        """Answer the held command with the pose of its own stamp."""
        if self._ee is None or self._twist is None or self._ee[0] != self._twist[0]:
            return
        if not self._permitted():
            return
        stamp, linear, angular, frame = self._twist
        try:
            asked = (self._twist, self._ee)
            if self._answered is None or self._answered[0] != asked:
                self._answered = (asked, self.core.answer(linear, angular, frame, self._ee[1]))
        except Rejected as reason:
            self.core.counts["rejected"] += 1
            self.state.explain(f"rejected: {reason}")
            return
        self._send(self._answered[1], stamp)

    # -- commands out

    def _tick(self) -> None:
        """Real time: one motion each period."""
        now = time.monotonic()
        periods = self._periods.tick(now)
        if self.adapter.other_description and self.core.watchdog.state == ARMED:
            self.core.fault(Fault.DESCRIPTION_CHANGED, self.adapter.other_description)
        if periods:
            self.watchdog.read(now)
            motion = self.core.tick(now, periods)
            self.watchdog.beat(motion.kind != "nothing")
            self._send(motion, self._clock_ns())
            self.state.announce_change()

    def _send(self, motion: Motion, stamp: int) -> None:
        problem = beyond(motion, self.limits, self.core.turning_home)
        if problem:
            raise NotSent(problem)
        if motion.kind == "move":
            problem = self.adapter.send(motion.linear, motion.angular, stamp)
            if self.adapter.passed < 1.0 and not problem:
                self.core.slowed(motion, self.adapter.passed, time.monotonic())
        elif motion.kind == "joints":
            problem = self.adapter.send_joints(motion.joints, stamp)
        elif motion.kind == "stop":
            self.adapter.stop(stamp)
        if problem:
            self.adapter.stop(stamp)
            self.core.not_sent(time.monotonic())
            motion = Motion("stop", why=f"not sent: {problem}")
        self.state.explain(motion.why)
        if motion.kind != "nothing" and self._pub_executed.get_subscription_count():
            done = convert.twist_message(motion.linear, stamp, self.p.base_frame, motion.angular)
            self._pub_executed.publish(done)

    @staticmethod
    def _keep_clock(parameters: list[Any]) -> SetParametersResult:
        """``use_sim_time`` decides how stamps are judged: not while the arm may move."""
        if any(parameter.name == "use_sim_time" for parameter in parameters):
            return SetParametersResult(
                successful=False, reason="use_sim_time is fixed while the guard runs: restart it"
            )
        return SetParametersResult(successful=True)

    def _figures(self) -> dict[str, float]:
        """For /diagnostics: how old each source is, and how steady the output."""
        if self.p.lock_step:
            return {}
        ages = self.core.watchdog.ages(time.monotonic())
        figures = {f"age of {source} s": age for source, age in ages.items()}
        figures["tracking error mm"] = 1e3 * math.hypot(*self.core.inputs.tracking_error.vector)
        return figures | {"jitter p99 ms": 1e3 * self._periods.jitter_s(), "overruns": self._periods.overruns}

    # -- services

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        now = time.monotonic()
        refusal = self._unready() if request.data else None
        if refusal is None and self.p.lock_step:
            refusal = self.core.watchdog.arm(request.data)
        elif refusal is None:
            refusal = self.core.arm(request.data, now)
        response.success = refusal is None
        response.message = refusal.text if refusal is not None else self.core.watchdog.state
        self._after_change()
        return response

    def _unready(self) -> Refusal | None:
        """Why the guard must not be armed, whatever the arm does; None: it may."""
        if self.adapter.other_description:
            return Refusal(Unready.DESCRIPTION_CHANGED, self.adapter.other_description)
        return self.watchdog.refusal() or self._rivals.refusal()

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.core.watchdog.estop("service call")
        self._after_change()
        response.success, response.message = True, "e-stop latched"
        return response

    def _on_clear_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.core.watchdog.clear_estop()
        response.message = "cleared; disarmed until armed again" if response.success else "no e-stop is latched"
        self._after_change()
        return response

    def _after_change(self) -> None:
        self._twist = None  # a command from before the change must not start a motion
        self.core.forget()
        self.state.announce()

    def destroy_node(self) -> None:
        """Let go of the guard's name, then destroy the node."""
        if self._rivals is not None:
            self._rivals.close()
        super().destroy_node()

    def on_stop(self) -> None:
        """Leave the arm standing still, whatever its driver does with the last command."""
        self.guarded(self._stop_within_limits, "the last stop")()
        for _ in range(_LAST_ZEROS):
            self.guarded(self.adapter.last_resort, "the last zeros")()
            self.guarded(lambda: self.adapter.stop(self._clock_ns()), "the last zeros")()
            time.sleep(0.005)  # not all in one burst: a reader of depth 1 sees them
        self.guarded(self.state.announce, "the last announcement")()
        for publisher in self.publishers:  # those of the adapter are among them
            publisher.wait_for_all_acked(Duration(seconds=0.1))
        if self.core.watchdog.fault is not Fault.INTERNAL:  # else the watchdog makes sure
            self.watchdog.leave()

    def _stop_within_limits(self) -> None:
        self.core.arm(False, time.monotonic())
        self._brake()

    def _brake(self) -> None:
        """Go through with the stop within the limits; in lock-step nothing moves by itself."""
        deadline = time.monotonic() + self.p.stop_within_s
        while not self.p.lock_step and time.monotonic() < deadline:
            motion = self.core.tick(time.monotonic())
            self.watchdog.beat(True)
            self._send(motion, self._clock_ns())
            if motion.kind != "move":
                return
            time.sleep(self.limits.linear.dt)


def _home_of(message: JointTrajectory) -> dict[str, float]:
    """The last point of a request, rad by joint name. ConfigError for names and numbers that do not fit."""
    names_, positions = list(message.joint_names), list(message.points[-1].positions) if message.points else []
    if not names_ or len(names_) != len(positions) or len(set(names_)) != len(names_):
        text = f"home position: {len(names_)} names (each once) and {len(positions)} positions do not fit"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="home")
    return dict(zip(names_, positions))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SafetyGuard, args)


if __name__ == "__main__":
    sys.exit(main())
