# SPDX-License-Identifier: Apache-2.0
"""safety_guard: the only publisher of the arm's command topics.

Takes policy/twist and policy/gripper, applies the envelope, and publishes servo_node/delta_twist_cmds and
gripper_controller/commands. Starts disarmed. Services ~/arm (SetBool), ~/estop and ~/clear_estop (Trigger).
Says what it does and why on ~/armed and ~/estop_state (latched), ~/reason and /diagnostics.

Lock-step: a command is answered at once, under its own stamp, and judged with the ee_pose of that stamp; a
refused command is not answered: the simulation stands still. Real time: zeros when commands may not pass.
"""

from __future__ import annotations

import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.safety.envelope import Envelope, Rejected, limit_velocity, limit_width
from erl_vlm_ros.safety.watchdog import ARMED, ESTOPPED, Watchdog
from erl_vlm_ros.tasks import load_task

_STILL = (0.0, 0.0, 0.0)
_COMMAND, _JOINTS, _EE = "policy command", "joint_states", "ee_pose"
_LAST_ZEROS = 5  # zeros sent on shutdown: a forward controller would hold the last velocity for ever


class SafetyGuard(BaseNode):
    """ROS side of the envelope and the watchdog."""

    NAME = "safety_guard"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p, task = self.p, load_task(self.p.task)
        self.envelope = Envelope(
            task.workspace_min, task.workspace_max, p.max_speed, p.horizon_s, p.base_frame, p.gripper_max
        )
        # In lock-step every step waits for the others anyway: silence cannot move the arm.
        limits = {_COMMAND: p.command_timeout_s, _JOINTS: p.state_timeout_s, _EE: p.state_timeout_s}
        self.watchdog = Watchdog({} if p.lock_step else limits)
        self._ee: tuple[int, tuple[float, float, float]] | None = None  # stamp ns, position m
        self._twist: tuple[int, tuple[float, float, float], str] | None = None  # stamp, m/s, frame
        self._reason = ""
        self._counts = dict.fromkeys(("passed", "limited", "rejected", "blocked"), 0)
        self._make_topics()
        self._announce()

    def _make_topics(self) -> None:
        p, sensor = self.p, qos.sensor(self.p.reliable_sensors)
        self._pub_twist = self.create_publisher(TwistStamped, names.ARM_TWIST, qos.command())
        self._pub_gripper = self.create_publisher(Float64MultiArray, names.ARM_GRIPPER, qos.command())
        self._pub_armed = self.create_publisher(Bool, names.ARMED, qos.latched())
        self._pub_estop = self.create_publisher(Bool, names.ESTOP_STATE, qos.latched())
        self._pub_reason = self.create_publisher(String, names.REASON, qos.latched())
        self._pub_diagnostics = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        self.create_subscription(TwistStamped, names.POLICY_TWIST, self._on_twist, qos.command())
        self.create_subscription(Float64MultiArray, names.POLICY_GRIPPER, self._on_gripper, qos.command())
        self.create_subscription(PoseStamped, names.EE_POSE, self._on_ee, sensor)
        self.create_service(SetBool, names.ARM, self._on_arm)
        self.create_service(Trigger, names.ESTOP, self._on_estop)
        self.create_service(Trigger, names.CLEAR_ESTOP, self._on_clear_estop)
        if not p.lock_step:
            self.create_subscription(JointState, names.JOINT_STATES, lambda _: self._saw(_JOINTS), sensor)
            self.wall_timer(1.0 / p.rate_hz, self._tick)
        self.wall_timer(1.0, self._diagnose)

    # -- messages in

    def _saw(self, source: str) -> None:
        if not self.p.lock_step:
            self.watchdog.saw(source, time.monotonic())

    def _on_ee(self, message: PoseStamped) -> None:
        if message.header.frame_id != self.p.base_frame:
            self._explain(f"ee_pose in frame '{message.header.frame_id}', expected '{self.p.base_frame}'")
            return
        self._saw(_EE)
        self._ee = (convert.header_ns(message), convert.position_of(message))
        if self.p.lock_step and self._twist is not None and self._twist[0] == self._ee[0]:
            self._pass_on()

    def _on_twist(self, message: TwistStamped) -> None:
        twist = (convert.header_ns(message), convert.linear_of(message), message.header.frame_id)
        angular = message.twist.angular
        if (angular.x, angular.y, angular.z) != _STILL:
            self._reject("rotation is not allowed")
            return
        if self.p.lock_step:
            self._twist = twist
            if self._ee is not None and self._ee[0] == twist[0]:
                self._pass_on()
            return
        try:  # judged before it counts as a sign of life
            limit_velocity(twist[1], self._ee[1] if self._ee else _STILL, twist[2], self.envelope)
        except Rejected as reason:
            self._reject(str(reason))
            return
        self._twist = twist
        self._saw(_COMMAND)
        self._tick()

    def _on_gripper(self, message: Float64MultiArray) -> None:
        verdict = self.watchdog.verdict(time.monotonic())
        if not verdict.moving:
            self._blocked(verdict.reason)
            return
        try:
            width, stamp = convert.width_of(message)
            width = limit_width(width, self.envelope)
        except ValueError as reason:
            self._reject(str(reason))
            return
        self._pub_gripper.publish(convert.width_message(width, max(stamp, 0)))

    # -- commands out

    def _pass_on(self) -> None:
        """Lock-step: answer the held command with the pose of its own stamp."""
        verdict = self.watchdog.verdict(time.monotonic())
        if verdict.moving:
            self._send(self._twist[0])
        else:
            self._blocked(verdict.reason)

    def _tick(self) -> None:
        """Real time: the newest command through the envelope with the newest pose, or zeros."""
        stamp = self.get_clock().now().nanoseconds
        verdict = self.watchdog.verdict(time.monotonic())
        if verdict.moving and self._twist is not None:
            self._send(stamp)
        else:
            self._explain(verdict.reason)
            self._pub_twist.publish(convert.twist_message(_STILL, stamp, self.p.base_frame))

    def _send(self, stamp: int) -> None:
        _, velocity, frame = self._twist
        try:
            limited = limit_velocity(velocity, self._ee[1], frame, self.envelope)
        except Rejected as reason:
            self._reject(str(reason))
            if not self.p.lock_step:
                self._pub_twist.publish(convert.twist_message(_STILL, stamp, self.p.base_frame))
            return
        self._pub_twist.publish(convert.twist_message(limited.velocity, stamp, self.p.base_frame))
        self._counts["limited" if limited.changed else "passed"] += 1
        self._explain("limited: " + ", ".join(limited.changed) if limited.changed else "")

    # -- explanations

    def _reject(self, reason: str) -> None:
        self._counts["rejected"] += 1
        self._explain(f"rejected: {reason}")

    def _blocked(self, reason: str) -> None:
        self._counts["blocked"] += 1
        self._explain(reason)

    def _explain(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._pub_reason.publish(String(data=reason))

    def _announce(self) -> None:
        self._pub_armed.publish(Bool(data=self.watchdog.state == ARMED))
        self._pub_estop.publish(Bool(data=self.watchdog.state == ESTOPPED))
        self._explain(self.watchdog.verdict(time.monotonic()).reason)

    def _diagnose(self) -> None:
        level = b"\x00" if self.watchdog.state == ARMED else b"\x01"
        level = b"\x02" if self.watchdog.state == ESTOPPED else level
        text = self.watchdog.state + (f": {self._reason}" if self._reason else "")
        stamp = self.get_clock().now().nanoseconds
        self._pub_diagnostics.publish(convert.metrics_message(self.NAME, self._counts, stamp, level, text))

    # -- services

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.watchdog.arm(request.data)
        self._twist = None  # a command from before the change must not start a motion
        self._after_change()
        return response

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.watchdog.estop("service call")
        self._after_change()
        response.success, response.message = True, "e-stop latched"
        return response

    def _on_clear_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.watchdog.clear_estop()
        self._after_change()
        return response

    def _after_change(self) -> None:
        self.get_logger().info(self.watchdog.state)
        self._announce()
        if not self.p.lock_step:
            self._tick()

    def on_stop(self) -> None:
        """Leave the arm standing still, whatever its driver does with the last command."""
        self.watchdog.arm(False)
        for _ in range(_LAST_ZEROS):
            stamp = self.get_clock().now().nanoseconds
            self._pub_twist.publish(convert.twist_message(_STILL, stamp, self.p.base_frame))
            self._pub_twist.wait_for_all_acked(Duration(seconds=0.1))
        self._announce()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SafetyGuard, args)


if __name__ == "__main__":
    sys.exit(main())
