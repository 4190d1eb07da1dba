# SPDX-License-Identifier: Apache-2.0
"""sim_bridge: the simulated arm and camera behind the topics of a real arm.

Publishes camera image (+ compressed, camera_info), joint_states, ee_pose, object_pose, /clock, and the ground
truth for evaluation. Obeys servo_node/delta_twist_cmds and gripper_controller/commands. Services ~/reset,
~/pause, ~/step.

Lock-step: one observation set, every part with one stamp; the next period is simulated when a command of that
stamp arrives. Without one the same set is published again after ``republish_s``. The reset and step answers
are JSON with the stamp of the observation that follows.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float32, Float64MultiArray
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.ros import convert, names, qos
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.sim.arm import FINGER_NAMES, JOINT_NAMES, SimArm
from erl_vlm_ros.sim.bridge import BridgeCore, LockStep, State
from erl_vlm_ros.tasks import load_task

_STILL = (0.0, 0.0, 0.0)
_JOINTS = [*JOINT_NAMES, *FINGER_NAMES]


class SimBridge(BaseNode):
    """ROS side of BridgeCore."""

    NAME = "sim_bridge"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        self.arm = SimArm(load_task(p.task).name, (p.image_width, p.image_height))
        self.core = BridgeCore(self.arm, p.seed)
        if not p.lock_step:
            self.core.stamp = self.get_clock().now().nanoseconds
        self._lock = LockStep(self.arm.config.use_gripper)
        self._matrix = self.arm.camera_matrix()
        self._state: State = self.core.state()
        self._image: np.ndarray = self.arm.render()
        self._published_at = 0.0
        self._paused = False
        self._command, self._command_at = _STILL, -1.0e9
        self._width = self.arm.gripper_width
        self._make_topics()
        if p.lock_step:
            self.wall_timer(min(0.25, p.republish_s / 4), self._republish_when_stalled)
            self._observe()
        else:
            self.wall_timer(self.arm.control_period, self._tick)
        self.get_logger().info(
            f"{self.arm.task.name}, seed {p.seed}, {'lock-step' if p.lock_step else 'real time'}"
        )

    def _make_topics(self) -> None:
        sensor = qos.sensor(self.p.reliable_sensors)
        self._pub_image = self.create_publisher(Image, names.IMAGE, sensor)
        self._pub_jpeg = self.create_publisher(CompressedImage, names.IMAGE_COMPRESSED, sensor)
        self._pub_info = self.create_publisher(CameraInfo, names.CAMERA_INFO, sensor)
        self._pub_joints = self.create_publisher(JointState, names.JOINT_STATES, sensor)
        self._pub_ee = self.create_publisher(PoseStamped, names.EE_POSE, sensor)
        self._pub_object = self.create_publisher(PoseStamped, names.OBJECT_POSE, sensor)
        self._pub_clock = self.create_publisher(ClockMessage, names.CLOCK, qos.sensor(True))
        # Deep enough that a whole evaluation is not lost while the listener is busy.
        self._pub_truth = self.create_publisher(DiagnosticArray, names.GROUND_TRUTH, qos.sensor(True, 2000))
        self._pub_success = self.create_publisher(Bool, names.SUCCESS, qos.sensor(True))
        self._pub_progress = self.create_publisher(Float32, names.PROGRESS, qos.sensor(True))
        self.create_subscription(TwistStamped, names.ARM_TWIST, self._on_twist, qos.command())
        self.create_subscription(Float64MultiArray, names.ARM_GRIPPER, self._on_width, qos.command())
        self.create_service(Trigger, names.RESET, self._on_reset)
        self.create_service(SetBool, names.PAUSE, self._on_pause)
        self.create_service(Trigger, names.STEP, self._on_step)

    # -- commands

    def _on_twist(self, message: TwistStamped) -> None:
        velocity = convert.linear_of(message)
        if message.header.frame_id != self.p.base_frame or not np.isfinite(velocity).all():
            self.get_logger().warning("twist refused: wrong frame or not finite", throttle_duration_sec=5.0)
            return
        self._command, self._command_at = velocity, time.monotonic()
        if self.p.lock_step:
            self._lock.twist(convert.header_ns(message), velocity)
            self._advance()

    def _on_width(self, message: Float64MultiArray) -> None:
        try:
            width, stamp = convert.width_of(message)
        except ValueError as error:
            self.get_logger().warning(f"gripper command refused: {error}", throttle_duration_sec=5.0)
            return
        if not np.isfinite(width):
            self.get_logger().warning("gripper command refused: not finite", throttle_duration_sec=5.0)
            return
        self._width = width
        if self.p.lock_step:
            self._lock.width(stamp, width)
            self._advance()

    def _advance(self) -> None:
        """Lock-step: simulate one period if the pending observation has been answered."""
        if self._paused:
            return
        answer = self._lock.answer(self.core.stamp, self._width)
        if answer is not None:
            self.core.step(*answer)
            self._observe()

    def _tick(self) -> None:
        """Real time: one period with the newest command, or standing still when it is too old."""
        if self._paused:
            return
        fresh = time.monotonic() - self._command_at <= self.p.command_timeout_s
        self.core.step(self._command if fresh else _STILL, self._width, self._now())
        self._observe()

    def _now(self) -> int | None:
        return None if self.p.lock_step else self.get_clock().now().nanoseconds

    # -- services

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        seed, index = self.get_parameter("episode_seed").value, self.get_parameter("episode_index").value
        self._command_at = -1.0e9
        started = self.core.reset(seed, index, self._now())
        self._width = self.arm.gripper_width
        self._observe()
        response.success, response.message = True, json.dumps(started)
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        response.success, response.message = True, "paused" if request.data else "running"
        if self.p.lock_step:
            self._advance()
        return response

    def _on_step(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._paused:
            response.success, response.message = False, "not paused; call pause with true first"
            return response
        answer = self._lock.answer(self.core.stamp, self._width) if self.p.lock_step else None
        self.core.step(*(answer or (_STILL, self._width)), self._now())
        self._observe()
        response.success, response.message = True, json.dumps({"stamp": self.core.stamp})
        return response

    # -- observations

    def _observe(self) -> None:
        """Publish the state, then render: consumers unpack the small messages meanwhile."""
        self._state = self.core.state()
        self._publish_state()
        self._image = self.arm.render()
        self._publish_rest()

    def _publish_state(self) -> None:
        s, base = self._state, self.p.base_frame
        finger = 0.5 * s.gripper_width
        joints = convert.joint_message(
            _JOINTS, [*s.joints.tolist(), finger, finger], [*s.joint_velocities.tolist(), 0.0, 0.0], s.stamp
        )
        joints.header.frame_id = base
        self._pub_joints.publish(joints)
        self._pub_ee.publish(convert.pose_message(s.ee_position, s.ee_quaternion, s.stamp, base))
        self._pub_object.publish(convert.pose_message(s.object_position, s.object_quaternion, s.stamp, base))

    def _publish_rest(self) -> None:
        stamp, frame, image = self._state.stamp, self.p.camera_frame, self._image
        self._pub_image.publish(convert.image_message(image, stamp, frame))
        if self._pub_info.get_subscription_count():
            height, width = image.shape[:2]
            self._pub_info.publish(convert.camera_info_message(self._matrix, width, height, stamp, frame))
        if self._pub_jpeg.get_subscription_count():
            jpeg = encode_jpeg(image, self.p.jpeg_quality)
            self._pub_jpeg.publish(convert.compressed_message(jpeg, stamp, frame))
        truth = self.core.ground_truth()
        self._pub_truth.publish(convert.metrics_message("ground_truth", truth, stamp))
        self._pub_success.publish(Bool(data=truth["success"] > 0))
        self._pub_progress.publish(Float32(data=truth["progress"]))
        clock = ClockMessage()
        convert.set_stamp(clock.clock, stamp)
        self._pub_clock.publish(clock)
        self._published_at = time.monotonic()

    def _republish_when_stalled(self) -> None:
        if not self._paused and time.monotonic() - self._published_at >= self.p.republish_s:
            self._publish_state()
            self._publish_rest()

    def destroy_node(self) -> None:
        self.arm.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SimBridge, args)


if __name__ == "__main__":
    sys.exit(main())
