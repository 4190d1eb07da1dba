# SPDX-License-Identifier: Apache-2.0
"""sim_bridge as a process, over real DDS."""

import json
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import decode_jpeg
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.bridge import BridgeCore

SENSOR = qos.sensor(True, 100)


class Bridge:
    """A running sim_bridge with everything it publishes, by stamp."""

    def __init__(self, ros, **parameters):
        self.ros = ros
        self.images = ros.collect(Image, names.IMAGE, SENSOR)
        self.joints = ros.collect(JointState, names.JOINT_STATES, SENSOR)
        self.ee = ros.collect(PoseStamped, names.EE_POSE, SENSOR)
        self.clocks = ros.collect(Clock, names.CLOCK, SENSOR)
        ros.start("sim_bridge", republish_s=0.2, **parameters)
        self.twist = ros.publisher(TwistStamped, names.ARM_TWIST, qos.command())
        ros.until(lambda: self.images and self.joints and self.ee and self.clocks, "the first observation")

    @property
    def stamp(self):
        return convert.header_ns(self.images[-1])

    def command(self, velocity, frame="base_link", stamp=None):
        before = self.stamp
        self.twist.publish(convert.twist_message(velocity, before if stamp is None else stamp, frame))
        return before

    def step(self, velocity):
        before = self.command(velocity)
        self.ros.until(lambda: self.stamp > before, "the next observation")

    def reset(self, seed=-1, index=-1):
        self.set(episode_seed=seed, episode_index=index)
        answer = self.ros.call(Trigger, names.RESET, Trigger.Request())
        started = json.loads(answer.message)
        self.ros.until(lambda: self.stamp >= started["stamp"], "the first observation of the episode")
        return started

    def set(self, **values):
        parameters = [
            Parameter(name=k, value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=v))
            for k, v in values.items()
        ]
        return self.ros.call(
            SetParameters, names.SIM_SET_PARAMETERS, SetParameters.Request(parameters=parameters)
        ).results

    def episode(self, seed, steps=5):
        """Images and joint positions of a short episode with fixed commands, as bytes."""
        first = self.reset(seed)["stamp"]
        for i in range(steps):
            self.step((0.2, 0.1 * (-1) ** i, -0.1))
        self.ros.until(lambda: convert.header_ns(self.joints[-1]) == self.stamp, "the last joint state")
        images = {convert.header_ns(m): bytes(m.data) for m in self.images if convert.header_ns(m) >= first}
        joints = {convert.header_ns(m): tuple(m.position) for m in self.joints if convert.header_ns(m) >= first}
        assert len(images) == len(joints) == steps + 1
        return [images[k] for k in sorted(images)], [joints[k] for k in sorted(joints)]


def test_same_seed_same_bytes_and_the_clock_never_goes_back(ros):
    bridge = Bridge(ros)
    first = bridge.episode(1007)
    other = bridge.episode(8)
    again = bridge.episode(1007)
    assert first == again
    assert first[1] != other[1]
    times = [convert.stamp_to_ns(m.clock) for m in bridge.clocks]
    assert times == sorted(times)
    # and it is what the simulator alone gives
    arm = SimArm("drawer_open")
    arm.reset(1007)
    assert tuple(arm.joint_positions) == first[1][0][:6]
    assert arm.render().tobytes() == first[0][0]


def test_training_episodes_depend_on_run_seed_and_index_only(ros):
    bridge = Bridge(ros, seed=3)
    core = BridgeCore(SimArm("drawer_open"), 3)
    assert bridge.reset() == {"stamp": 200_000_000, "seed": core.training_seed(0), "episode": 0}
    assert bridge.reset()["episode"] == 1
    assert bridge.reset(index=7) == {"stamp": 400_000_000, "seed": core.training_seed(7), "episode": 7}
    assert bridge.reset(seed=5)["episode"] == -1
    assert bridge.reset()["episode"] == 8


def test_only_a_command_of_the_pending_stamp_moves_the_arm(ros):
    bridge = Bridge(ros)
    bridge.reset(1)
    stamp, seen = bridge.stamp, len(bridge.images)
    bridge.command((0.1, 0, 0), stamp=stamp - 1)
    bridge.command((0.1, 0, 0), frame="world")
    bridge.command((float("nan"), 0, 0))
    ros.until(lambda: len(bridge.images) >= seen + 2, "the pending observation, published again")
    assert bridge.stamp == stamp
    assert bytes(bridge.images[-1].data) == bytes(bridge.images[-2].data)
    bridge.step((0.1, 0, 0))
    assert bridge.stamp == stamp + 100_000_000


def test_pause_step_and_reset_services(ros):
    bridge = Bridge(ros)
    stepped = ros.call(Trigger, names.STEP, Trigger.Request())
    assert not stepped.success and "pause" in stepped.message
    assert ros.call(SetBool, names.PAUSE, SetBool.Request(data=True)).success
    stamp = bridge.command((0.1, 0, 0))
    ros.serve(0.3)
    assert bridge.stamp == stamp
    stepped = ros.call(Trigger, names.STEP, Trigger.Request())
    assert json.loads(stepped.message)["stamp"] == stamp + 100_000_000
    ros.until(lambda: bridge.stamp == stamp + 100_000_000, "the stepped observation")
    bridge.command((0.1, 0, 0))
    assert ros.call(SetBool, names.PAUSE, SetBool.Request(data=False)).success
    ros.until(lambda: bridge.stamp == stamp + 200_000_000, "the step after the pause")


def test_camera_info_and_compressed_image(ros):
    compressed = ros.collect(CompressedImage, names.IMAGE_COMPRESSED, SENSOR)
    infos = ros.collect(CameraInfo, names.CAMERA_INFO, SENSOR)
    bridge = Bridge(ros, image_width=96, image_height=64)
    ros.until(lambda: compressed and infos, "compressed image and camera info")
    arm = SimArm("drawer_open", (96, 64))
    assert np.allclose(np.array(infos[-1].k).reshape(3, 3), arm.camera_matrix())
    assert (infos[-1].width, infos[-1].height) == (96, 64)
    by_stamp = {convert.header_ns(m): m for m in bridge.images}
    raw = convert.image_to_rgb(by_stamp[convert.header_ns(compressed[-1])])
    assert raw.shape == (64, 96, 3)
    assert np.abs(decode_jpeg(bytes(compressed[-1].data)).astype(int) - raw).mean() < 6
    assert compressed[-1].header.frame_id == infos[-1].header.frame_id == "camera_color_optical_frame"


def test_a_task_with_gripper_waits_for_both_commands(ros):
    bridge = Bridge(ros, task="pick_place")
    gripper = ros.publisher(Float64MultiArray, names.ARM_GRIPPER, qos.command())
    bridge.reset(2)
    stamp = bridge.command((0, 0, 0.1))
    gripper.publish(convert.width_message(0.02, stamp - 1))
    ros.serve(0.3)
    assert bridge.stamp == stamp
    gripper.publish(convert.width_message(0.02, stamp))
    ros.until(lambda: bridge.stamp > stamp, "the next observation")


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"imgae_width": 64}, "did you mean 'image_width'"),
        ({"image_width": 5000}, "'image_width' of sim_bridge is 5000; it must be 16 to 640"),
        ({"seed": "zero"}, "'seed' of sim_bridge is 'zero'; it must be of type int"),
        ({"task": "fold_laundry"}, "unknown task 'fold_laundry'"),
    ],
)
def test_wrong_parameters_are_refused_with_one_line(ros, parameters, message):
    process = ros.start("sim_bridge", **parameters)
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2
    lines = [line for line in ros.log("sim_bridge").splitlines() if line.startswith("erl_vlm_ros: ")]
    assert len(lines) == 1 and lines[0].startswith("erl_vlm_ros: sim_bridge: ") and message in lines[0]
    assert "Traceback" not in ros.log("sim_bridge")


def test_another_control_rate_is_refused_in_lock_step(ros):
    task = ros.folder / "faster.yaml"
    task.write_text(Path(load_task("drawer_open").path).read_text() + "\ncontrol_hz: 20\n")
    process = ros.start("sim_bridge", task=str(task))
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2 and "control_hz is 20; in lock-step" in ros.log("sim_bridge")


def test_a_runtime_parameter_out_of_range_is_refused(ros):
    bridge = Bridge(ros)
    assert not bridge.set(episode_seed=-5)[0].successful
    assert not bridge.set(seed=5)[0].successful  # read-only
    assert bridge.set(episode_seed=5)[0].successful


def test_a_world_from_outside_the_package_answers_commands(ros):
    objects = ros.collect(PoseStamped, names.OBJECT_POSE, SENSOR)
    bridge = Bridge(ros, backend="toy_backend:Rail", image_width=32, image_height=32)
    bridge.reset(index=0)
    before = bridge.joints[-1]
    bridge.step((0.5, 0.0, 0.0))
    ros.until(lambda: convert.header_ns(bridge.joints[-1]) == bridge.stamp, "the joint state after the step")
    after = bridge.joints[-1]
    assert list(after.name) == ["rail"]
    assert after.position[0] == pytest.approx(before.position[0] + 0.05)
    assert bridge.images[-1].width == 32 and not objects
