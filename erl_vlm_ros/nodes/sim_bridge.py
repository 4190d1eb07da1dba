# SPDX-License-Identifier: Apache-2.0
"""sim_bridge: the simulated arm and camera behind the topics of a real arm.

Publishes camera image (+ compressed, camera_info), joint_states, ee_pose, object_pose, robot_description, and the
ground truth for evaluation. Services ~/reset, ~/pause, ~/step.

Lock-step: one observation set, every part with one stamp, and /clock; the next period is simulated when a command of
that stamp arrives on servo_node/delta_twist_cmds and gripper_controller/commands. Without one the same set is
published again after ``republish_s``. The reset and step answers are JSON with the stamp of the observation that
follows.

Real time: stands in for a driver and a camera. Runs on wall time and publishes no /clock; obeys the command topic of
the parameter ``driver`` with that driver's habits; joint_states come in an order of its own.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float32, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros import convert, names, qos, realtime
from erl_vlm_ros.ros.frames import FramePublisher
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.sim_driver import DriverTopics
from erl_vlm_ros.sim.arm import FINGER_NAMES, JOINT_NAMES, SimArm
from erl_vlm_ros.sim.bridge import BridgeCore, LockStep, State
from erl_vlm_ros.sim.drivers import make_driver
from erl_vlm_ros.sim.realtime import TICK_S, RealTime
from erl_vlm_ros.sim.urdf import TOOL_FRAME, arm_urdf
from erl_vlm_ros.tasks import load_task

_STILL = (0.0, 0.0, 0.0)
_JOINTS = [*JOINT_NAMES, *FINGER_NAMES]


class SimBridge(BaseNode):
    """ROS side of BridgeCore."""

    NAME = "sim_bridge"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        task = load_task(p.task)
        self.arm = SimArm(task.name, (p.image_width, p.image_height))
        if p.lock_step and abs(task.control_hz * self.arm.control_period - 1.0) > 1e-9:
            raise ConfigError(
                f"{task.path}: control_hz is {task.control_hz:g}; in lock-step the simulated arm makes "
                f"{1.0 / self.arm.control_period:g} steps a second (other rates: parameter 'lock_step' false)"
            )
        self.core = BridgeCore(self.arm, p.seed)
        self.live: RealTime | None = None
        self._lock = LockStep(self.arm.config.use_gripper)
        self._matrix = self.arm.camera_matrix()
        self._state: State = self.core.state()
        self._image: np.ndarray = self.arm.render()
        self._published_at = 0.0
        self._paused = False
        self._width = self.arm.gripper_width
        self._lost_s = 0.0
        self._make_topics()
        if p.lock_step:
            self.create_subscription(TwistStamped, names.ARM_TWIST, self._on_twist, qos.command())
            self.wall_timer(min(0.25, p.republish_s / 4), self._republish_when_stalled)
            self._observe()
        else:
            kinematics = Kinematics.from_text(self._urdf, p.base_frame, TOOL_FRAME)
            driver = make_driver(p.driver, kinematics, TICK_S, p.driver_joints, p.command_timeout_s)
            self.live = RealTime(self.core, driver, self._now())
            self._driver = DriverTopics(self, self.live, p.driver, p.base_frame, self._now)
            self.get_logger().info(realtime.prefer(p.realtime_priority))
            self.wall_timer(1.0 / p.state_rate_hz, self._state_tick)
            self.wall_timer(1.0 / p.camera_rate_hz, self._camera_tick)
        manner = "lock-step" if p.lock_step else f"real time as {p.driver}"
        self.get_logger().info(f"{self.arm.task.name}, seed {p.seed}, {manner}")

    def _make_topics(self) -> None:
        sensor = qos.sensor(self.p.reliable_sensors)
        picture = qos.sensor(self.p.reliable_images)  # as the camera node: the policy meets the same offer
        self._pub_image = self.create_publisher(Image, names.IMAGE, picture)
        self._pub_jpeg = self.create_publisher(CompressedImage, names.IMAGE_COMPRESSED, picture)
        self._pub_info = self.create_publisher(CameraInfo, names.CAMERA_INFO, picture)
        self._pub_joints = self.create_publisher(JointState, names.JOINT_STATES, sensor)
        self._pub_ee = self.create_publisher(PoseStamped, names.EE_POSE, sensor)
        self._pub_object = self.create_publisher(PoseStamped, names.OBJECT_POSE, sensor)
        self._pub_clock = self._pub_wrench = None
        if self.p.lock_step:
            self._pub_clock = self.create_publisher(ClockMessage, names.CLOCK, qos.sensor(True))
        if self.p.publish_wrench:
            self._pub_wrench = self.create_publisher(WrenchStamped, names.WRENCH, sensor)
        self._pub_urdf = self.create_publisher(String, names.ROBOT_DESCRIPTION, qos.latched())
        self._urdf = arm_urdf(self.p.task, self.p.base_frame)
        self._pub_urdf.publish(String(data=self._urdf))
        self._frames = FramePublisher(self, self.p.base_frame) if self.p.publish_tf else None
        self._pub_truth = self.create_publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
        self._pub_success = self.create_publisher(Bool, names.SUCCESS, qos.sensor(True))
        self._pub_progress = self.create_publisher(Float32, names.PROGRESS, qos.sensor(True))
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
        if self.live is not None:
            self.live.advance(self._now())
            self.live.width = width
        else:
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

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    # -- real time

    def _state_tick(self) -> None:
        if not self._paused:
            self.live.observe(self._now())
            self._state = self.core.state()
            self._publish_arm()
            self._tell_lost_time()

    def _camera_tick(self) -> None:
        """The camera and the tracker that looks through it have times of their own, as on a real arm."""
        if not self._paused:
            self.live.observe(self._now())
            self._state = self.core.state()
            self._publish_object()
            self._image = self.arm.render()
            self._publish_rest()

    def _tell_lost_time(self) -> None:
        lost, self._lost_s = self.live.lost_s - self._lost_s, self.live.lost_s
        if lost > 0.0:
            self.get_logger().warning(
                f"held up for {lost:.2f} s: the arm stood still meanwhile ({self._lost_s:.1f} s in all)",
                throttle_duration_sec=5.0,
            )

    # -- services

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        seed, index = self.get_parameter("episode_seed").value, self.get_parameter("episode_index").value
        if self.live is not None:
            started = self.live.reset(seed, index, self._now())
        else:
            started = self.core.reset(seed, index)
        self._width = self.arm.gripper_width
        self._observe()
        response.success, response.message = True, json.dumps(started)
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._paused = request.data
        if self.live is not None:
            self.live.pause(request.data, self._now())
        response.success, response.message = True, "paused" if request.data else "running"
        if self.p.lock_step:
            self._advance()
        return response

    def _on_step(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._paused:
            response.success, response.message = False, "not paused; call pause with true first"
            return response
        if self.live is not None:
            self.live.step(self.arm.control_period, self._now())
        else:
            answer = self._lock.answer(self.core.stamp, self._width)
            self.core.step(*(answer or (_STILL, self._width)))
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
        self._publish_arm()
        self._publish_object()

    def _publish_arm(self) -> None:
        s, base = self._state, self.p.base_frame
        self._pub_joints.publish(self._joint_message() if self.live is None else self._driver_joint_message())
        self._pub_ee.publish(convert.pose_message(s.ee_position, s.ee_quaternion, s.stamp, base))
        if self._pub_wrench is not None:
            self._pub_wrench.publish(convert.wrench_message(self.arm.tool_wrench, s.stamp, TOOL_FRAME))
        if self._frames is not None:
            self._frames.publish(self.arm, s.stamp)

    def _publish_object(self) -> None:
        s = self._state
        pose = convert.pose_message(s.object_position, s.object_quaternion, s.stamp, self.p.base_frame)
        self._pub_object.publish(pose)

    def _joint_message(self) -> JointState:
        s, finger = self._state, 0.5 * self._state.gripper_width
        joints = convert.joint_message(
            _JOINTS, [*s.joints.tolist(), finger, finger], [*s.joint_velocities.tolist(), 0.0, 0.0], s.stamp
        )
        joints.header.frame_id = self.p.base_frame
        return joints

    def _driver_joint_message(self) -> JointState:
        """In an order of its own and with efforts, as a joint_state_broadcaster's."""
        s, arm = self._state, self.arm
        fingers = dict(zip(FINGER_NAMES, zip([0.5 * s.gripper_width] * 2, arm.finger_velocities, (0.0, 0.0))))
        rows = dict(zip(JOINT_NAMES, zip(s.joints, s.joint_velocities, arm.joint_efforts))) | fingers
        order = (FINGER_NAMES[1], *self.p.driver_joints, FINGER_NAMES[0])
        positions, velocities, efforts = zip(*(rows[name] for name in order))
        joints = convert.joint_message(order, positions, velocities, s.stamp, efforts)
        joints.header.frame_id = self.p.base_frame
        return joints

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
        if self._pub_clock is not None:
            clock = ClockMessage()
            convert.set_stamp(clock.clock, stamp)
            self._pub_clock.publish(clock)
        self._published_at = time.monotonic()

    def _republish_when_stalled(self) -> None:
        if not self._paused and time.monotonic() - self._published_at >= self.p.republish_s:
            self._publish_state()
            self._publish_rest()

    def destroy_node(self) -> None:
        if hasattr(self, "arm"):  # not when the parameters were refused
            self.arm.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SimBridge, args)


if __name__ == "__main__":
    sys.exit(main())
