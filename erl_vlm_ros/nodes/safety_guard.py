# SPDX-License-Identifier: Apache-2.0
"""safety_guard: the only publisher of the arm's command topics.

Takes policy/twist, policy/gripper and policy/joint_trajectory (home), limits them (`erl_vlm_ros.safety`) and hands
them to the arm's adapter; what was let through is on ~/executed. Starts disarmed. Services ~/arm (SetBool),
~/estop and ~/clear_estop (Trigger). Says what it does and why on ~/armed and ~/estop_state (latched), ~/reason and
/diagnostics. It never clears a fault of the robot.

Lock-step: a command is answered at once, under its own stamp, and judged with the ee_pose of that stamp; a
refused command is not answered: the simulation stands still. Real time: one motion each period, zeros when
commands may not pass.
"""

from __future__ import annotations

import math
import sys
import time

from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.duration import Duration
from sensor_msgs.msg import CameraInfo, JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.robot.homing import Homing
from erl_vlm_ros.ros import convert, names, qos, realtime
from erl_vlm_ros.ros.adapters import make_adapter
from erl_vlm_ros.ros.guard_state import GuardState
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.safety.config import CAMERA, DEADMAN, HEARTBEAT, WRENCH, guard_limits
from erl_vlm_ros.safety.core import GuardCore, Motion
from erl_vlm_ros.safety.envelope import Rejected, limit_width
from erl_vlm_ros.safety.slots import Slots
from erl_vlm_ros.tasks import load_task

_LAST_ZEROS = 5  # sent on shutdown: a forward controller would hold the last velocity for ever


class SafetyGuard(BaseNode):
    """ROS side of GuardCore."""

    NAME = "safety_guard"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        self.limits = guard_limits(self.p, load_task(self.p.task))
        self.core = GuardCore(self.limits)
        self.adapter = make_adapter(self, self.p)
        self.adapter.prepare()
        self._slots = Slots(self.limits.linear.dt)
        self._ee: tuple[int, tuple[float, float, float]] | None = None  # lock-step: stamp ns, position m
        self._twist: tuple[int, tuple, tuple, str] | None = None  # lock-step: stamp, m/s, rad/s, frame
        self._answered: tuple[tuple, Motion] | None = None  # lock-step: what is asked again is answered the same
        self._home_target: dict[str, float] = {}
        self._make_topics()
        if self.p.lock_step:
            self._listen_lock_step()
        else:
            self._listen_real_time()
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
            self.create_subscription(JointState, names.JOINT_STATES, self._on_joints, sensor)

    def _listen_real_time(self) -> None:
        sensor, heard = qos.sensor(self.p.reliable_sensors), self.limits.timeouts
        self.create_subscription(TwistStamped, names.POLICY_TWIST, self._on_twist, qos.command())
        self.create_subscription(JointTrajectory, names.POLICY_HOME, self._on_home, qos.command())
        self.create_subscription(PoseStamped, names.EE_POSE, self._on_ee, sensor)
        self.create_subscription(JointState, names.JOINT_STATES, self._on_joints, sensor)
        if CAMERA in heard:
            camera = lambda _: self.core.senses.saw_camera(time.monotonic())  # noqa: E731
            self.create_subscription(CameraInfo, names.CAMERA_INFO, camera, qos.sensor())
        if HEARTBEAT in heard:
            self.create_subscription(Bool, names.HEARTBEAT, self._on_heartbeat, qos.sensor())
        if DEADMAN in heard:
            joy = lambda m: self.core.senses.saw_joy(m.buttons, time.monotonic())  # noqa: E731
            self.create_subscription(Joy, names.JOY, joy, qos.sensor())
        if WRENCH in heard:
            self.create_subscription(WrenchStamped, names.WRENCH, self._on_wrench, qos.sensor())
        self.get_logger().info(realtime.prefer(self.p.realtime_priority))
        self.wall_timer(self.limits.linear.dt, self._tick)

    def _clock_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    # -- messages in

    def _on_twist(self, message: TwistStamped) -> None:
        problem = self.core.command(
            convert.linear_of(message), convert.angular_of(message), message.header.frame_id,
            convert.header_ns(message), self._clock_ns(), time.monotonic(),
        )  # fmt: skip
        if problem:
            self.state.explain(f"rejected: {problem}")

    def _on_ee(self, message: PoseStamped) -> None:
        position, stamp = convert.position_of(message), convert.header_ns(message)
        self.core.senses.saw_pose(position, message.header.frame_id, stamp, self._clock_ns(), time.monotonic())

    def _on_joints(self, message: JointState) -> None:
        try:
            positions, velocities = convert.joint_maps(message)
        except ValueError as error:
            self.state.explain(str(error))
            return
        self.adapter.joint_state(positions, velocities)
        if self.core.senses.kinematics is not self.adapter.kinematics:
            self.core.senses.adopt(self.adapter.kinematics)
        self.core.senses.saw_joints(positions, convert.header_ns(message), self._clock_ns(), time.monotonic())

    def _on_heartbeat(self, message: Bool) -> None:
        self.core.senses.saw_heartbeat(message.data, time.monotonic())
        self.state.announce_change()

    def _on_wrench(self, message: WrenchStamped) -> None:
        f, t = message.wrench.force, message.wrench.torque
        self.core.senses.saw_wrench((f.x, f.y, f.z), (t.x, t.y, t.z), time.monotonic())
        self.state.announce_change()

    def _on_home(self, message: JointTrajectory) -> None:
        target = dict(zip(message.joint_names, message.points[-1].positions)) if message.points else {}
        arm = self.adapter.kinematics
        try:
            if arm is None:
                raise ConfigError("homing needs the arm's URDF: set urdf_file or publish robot_description")
            again = self.core.homing is not None and target == self._home_target
            homing = None if again else Homing(arm, target)
        except ConfigError as error:
            self.state.explain(f"rejected: {error}")
            return
        self._home_target = target
        self.core.home(homing, time.monotonic())

    def _on_gripper(self, message: Float64MultiArray) -> None:
        verdict = self.core.watchdog.verdict(time.monotonic())
        if not verdict.moving:
            self.core.counts["blocked"] += 1
            self.state.explain(verdict.reason)
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
        verdict = self.core.watchdog.verdict(time.monotonic())
        if not verdict.moving:
            self.core.counts["blocked"] += 1
            self.state.explain(verdict.reason)
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
        slots = self._slots.tick(now)
        if slots:
            self._send(self.core.tick(now, slots), self._clock_ns())
            self.state.announce_change()

    def _send(self, motion: Motion, stamp: int) -> None:
        problem = ""
        if motion.kind == "move":
            problem = self.adapter.send(motion.linear, motion.angular, stamp)
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

    def _figures(self) -> dict[str, float]:
        """For /diagnostics: how old each source is, and how steady the output."""
        if self.p.lock_step:
            return {}
        ages = self.core.watchdog.ages(time.monotonic())
        figures = {f"age of {source} s": age for source, age in ages.items()}
        figures["lead mm"] = 1e3 * math.hypot(*self.core.senses.lead.vector)
        return figures | {"jitter p99 ms": 1e3 * self._slots.jitter_s(), "missed periods": self._slots.missed}

    # -- services

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        now = time.monotonic()
        if self.p.lock_step:
            response.success, response.message = self.core.watchdog.arm(request.data)
        else:
            response.success, response.message = self.core.arm(request.data, now)
        self._after_change()
        return response

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.core.watchdog.estop("service call")
        self._after_change()
        response.success, response.message = True, "e-stop latched"
        return response

    def _on_clear_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.core.watchdog.clear_estop()
        self._after_change()
        return response

    def _after_change(self) -> None:
        self._twist = None  # a command from before the change must not start a motion
        self.core.forget()
        self.state.announce()

    def on_stop(self) -> None:
        """Leave the arm standing still, whatever its driver does with the last command."""
        self.core.arm(False, time.monotonic())
        self._brake()
        self.state.announce()
        for _ in range(_LAST_ZEROS):
            self.adapter.stop(self._clock_ns())
            time.sleep(0.005)  # not all in one burst: a reader of depth 1 sees them
        for publisher in self.publishers:  # those of the adapter are among them
            publisher.wait_for_all_acked(Duration(seconds=0.1))

    def _brake(self) -> None:
        """Go through with the stop within the limits; in lock-step nothing moves by itself."""
        deadline = time.monotonic() + self.p.stop_within_s
        while not self.p.lock_step and time.monotonic() < deadline:
            motion = self.core.tick(time.monotonic())
            self._send(motion, self._clock_ns())
            if motion.kind != "move":
                return
            time.sleep(self.limits.linear.dt)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SafetyGuard, args)


if __name__ == "__main__":
    sys.exit(main())
