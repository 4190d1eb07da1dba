# SPDX-License-Identifier: Apache-2.0
"""sim_bridge: the simulated arm and camera behind the topics of a real arm.

Publishes camera image (+ compressed, camera_info; those of each named camera), joint_states, ee_pose, object_pose,
robot_description, and the ground truth for evaluation. Services ~/reset, ~/pause, ~/step.

Lock-step: one observation set, every part with one stamp, and /clock; the next period is simulated when a command of
that stamp arrives on servo_node/delta_twist_cmds and gripper_controller/commands. Without one the same set is
published again after ``republish_s``. The reset and step answers are JSON with the stamp of the observation that
follows.

Real time: stands in for a driver and a camera. Runs on wall time and publishes no /clock; obeys the command topic of
the parameter ``adapter`` with that driver's habits; joint_states come in an order of its own.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float32, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import STILL, ArmCommand
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros import convert, qos, realtime
from erl_vlm_ros.ros.frames import FramePublisher
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.sim_driver import DriverTopics
from erl_vlm_ros.ros.sim_images import SimImages
from erl_vlm_ros.sim.backend import ArmState, check_control_rate, make_backend
from erl_vlm_ros.sim.bridge import BridgeCore, LockStep
from erl_vlm_ros.sim.cameras import sim_cameras
from erl_vlm_ros.sim.drivers import make_driver
from erl_vlm_ros.sim.realtime import TICK_S, RealTime


class SimBridge(BaseNode):
    """ROS side of BridgeCore."""

    NAME = "sim_bridge"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        task = load_task(p.task)
        size = (p.image_width, p.image_height)
        cameras = sim_cameras(p.cameras or (), p.camera_views, p.camera_sizes, size)
        self.arm = make_backend(p.backend, task, size, p.robot_file, cameras)
        if p.joint_names is not None and sorted(p.joint_names) != sorted(self.arm.joint_names):
            text = (
                f"parameter 'joint_names' is {', '.join(p.joint_names)}, but the backend '{p.backend}' of sim_bridge "
                f"simulates {', '.join(self.arm.joint_names)}: give the robot file a 'model', or choose another "
                "robot or backend"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="sim_bridge.joint_names")
        if p.lock_step:
            check_control_rate(self.arm, task)
        self.core = BridgeCore(self.arm, p.seed, p.first_stamp_s)
        self.live: RealTime | None = None
        self._lock = LockStep(self.arm.use_gripper)
        self._state: ArmState = self.arm.observe()
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
            kinematics = Kinematics.from_text(self._urdf, p.base_frame, p.tool_frame)
            driver = make_driver(p.adapter, kinematics, TICK_S, p.controller_joints, p.command_timeout_s)
            self.live = RealTime(self.core, driver, self._now())
            self._driver = DriverTopics(self, self.live, p.adapter, p.base_frame, self._now)
            self.get_logger().info(realtime.prefer(p.realtime_priority))
            self.wall_timer(1.0 / p.state_rate_hz, self._state_tick)
            self.wall_timer(1.0 / p.camera_rate_hz, self._camera_tick)
        manner = "lock-step" if p.lock_step else f"real time as {p.adapter}"
        self.get_logger().info(f"{task.name}, seed {p.seed}, {manner}")

    def _make_topics(self) -> None:
        sensor = qos.sensor(self.p.reliable_sensors)
        self._images = SimImages(self, self.arm)
        self._pub_joints = self.create_publisher(JointState, names.JOINT_STATES, sensor)
        self._pub_ee = self.create_publisher(PoseStamped, names.EE_POSE, sensor)
        self._pub_object = self.create_publisher(PoseStamped, names.OBJECT_POSE, sensor)
        self._pub_clock = self._pub_wrench = None
        if self.p.lock_step:
            self._pub_clock = self.create_publisher(ClockMessage, names.CLOCK, qos.sensor(True))
        if self.p.publish_wrench:
            self._pub_wrench = self.create_publisher(WrenchStamped, names.WRENCH, sensor)
        self._pub_urdf = self.create_publisher(String, names.ROBOT_DESCRIPTION, qos.latched())
        self._urdf = self.arm.urdf(self.p.base_frame, self.p.tool_frame)
        if self._urdf:
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
        linear, angular = convert.linear_of(message), convert.angular_of(message)
        if message.header.frame_id != self.p.base_frame or not np.isfinite((*linear, *angular)).all():
            self.get_logger().warning("twist refused: wrong frame or not finite", throttle_duration_sec=5.0)
            return
        self._lock.twist(convert.header_ns(message), linear, angular)
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
            self.core.step(answer)
            self._observe()

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    # -- real time

    def _state_tick(self) -> None:
        if not self._paused:
            self.live.observe(self._now())
            self._state = self.arm.observe()
            self._publish_arm()
            self._tell_lost_time()

    def _camera_tick(self) -> None:
        """The camera and the tracker that looks through it have times of their own, as on a real arm."""
        if not self._paused:
            self.live.observe(self._now())
            self._state = self.arm.observe()
            self._publish_object()
            self._images.render()
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
            self.core.step(answer or ArmCommand(STILL, width=self._width))
        self._observe()
        response.success, response.message = True, json.dumps({"stamp": self.core.stamp})
        return response

    # -- observations

    def _observe(self) -> None:
        """Publish the state, then render: consumers unpack the small messages meanwhile."""
        self._state = self.arm.observe()
        self._publish_state()
        self._images.render()
        self._publish_rest()

    def _publish_state(self) -> None:
        self._publish_arm()
        self._publish_object()

    def _publish_arm(self) -> None:
        s, stamp, base = self._state, self.core.stamp, self.p.base_frame
        self._pub_joints.publish(self._joint_message() if self.live is None else self._driver_joint_message())
        self._pub_ee.publish(convert.pose_message(s.ee_position, s.ee_quaternion, stamp, base))
        if self._pub_wrench is not None:
            self._pub_wrench.publish(convert.wrench_message(self.arm.wrench(), stamp, self.p.tool_frame))
        if self._frames is not None:
            self._frames.publish(self.arm, stamp)

    def _publish_object(self) -> None:
        s = self._state
        if s.object_position is not None:
            pose = convert.pose_message(s.object_position, s.object_quaternion, self.core.stamp, self.p.base_frame)
            self._pub_object.publish(pose)

    def _joint_message(self) -> JointState:
        s, arm = self._state, self.arm
        positions = [*s.joints.tolist(), *s.fingers.tolist()]
        velocities = [*s.joint_velocities.tolist(), *[0.0] * len(s.fingers)]
        names_ = [*arm.joint_names, *arm.finger_names]
        joints = convert.joint_message(names_, positions, velocities, self.core.stamp)
        joints.header.frame_id = self.p.base_frame
        return joints

    def _driver_joint_message(self) -> JointState:
        """In an order of its own and with efforts, as a joint_state_broadcaster's."""
        s, arm = self._state, self.arm
        rows = dict(zip(arm.joint_names, zip(s.joints, s.joint_velocities, s.joint_efforts)))
        no_efforts = [0.0] * len(s.fingers)
        rows |= dict(zip(arm.finger_names, zip(s.fingers, s.finger_velocities, no_efforts)))
        order = (*arm.finger_names[1:], *(self.p.controller_joints or arm.joint_names), *arm.finger_names[:1])
        positions, velocities, efforts = zip(*(rows[name] for name in order))
        joints = convert.joint_message(order, positions, velocities, self.core.stamp, efforts)
        joints.header.frame_id = self.p.base_frame
        return joints

    def _publish_rest(self) -> None:
        stamp = self.core.stamp
        self._images.publish(stamp)
        truth = self.arm.truth()
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
