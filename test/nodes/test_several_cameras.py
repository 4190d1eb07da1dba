# SPDX-License-Identifier: Apache-2.0
"""Two image streams over DDS: late, missing, dropped, never agreeing; what the controller takes and what it tells."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from factories import SIM_ARM_FACTS
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import NONE, load_task
from erl_vlm_ros.data.bundle import Bundle, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_jpeg
from erl_vlm_ros.data.spaces import run_spaces
from erl_vlm_ros.data.views import view
from erl_vlm_ros.graphs.build import train_real
from erl_vlm_ros.graphs.spec import RunArguments
from erl_vlm_ros.params.param import namespace, resolve
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.observation_source import ObservationSource

TASK = replace(load_task("drawer_open"), observed_object=NONE)
TWO = {"cameras": ["scene", "wrist"]}
REAL = {
    **SIM_ARM_FACTS["policy_controller"], **TWO, "lock_step": False, "reliable_sensors": False, "observe": "images",
    "camera_tolerance_s": 0.02, "image_timeout_s": 0.4, "state_timeout_s": 10.0, "camera_wait_s": 2.0,
    "set_episode_seed": False,
}  # fmt: skip
JOINTS = [*REAL["joint_names"], *REAL["gripper_joints"]]
MS = 1_000_000


class Reader(Node):
    """What ObservationSource needs of its node, with the controller's parameters."""

    def __init__(self, context, **parameters):
        super().__init__("reader", context=context)
        values = resolve("policy_controller", PARAMETERS["policy_controller"], REAL | parameters)
        self.p = namespace("policy_controller", values)
        spec = run_spaces(values, TASK).observation
        self.source = ObservationSource(self, spec, np.zeros(3), lambda *_: None, lambda: 0.0, real_time=True)

    def wall_timer(self, period_s, callback):
        return self.create_timer(period_s, callback)


class Rig:
    """An arm's driver and two cameras, played by the test."""

    def __init__(self, ros, readers=1):
        sensor = qos.sensor(True)
        make = lambda kind, topic: ros.publisher(kind, topic, sensor, readers)  # noqa: E731
        self.ros, self.start = ros, time.time_ns()
        self.cameras = {name: make(Image, names.NAMED_IMAGE.format(name)) for name in TWO["cameras"]}
        self.joints, self.ee = make(JointState, names.JOINT_STATES), make(PoseStamped, names.EE_POSE)

    def image(self, camera, ms, value=0, size=(32, 32)):
        image = np.full((size[1], size[0], 3), value, np.uint8)
        self.cameras[camera].publish(convert.image_message(image, self.start + ms * MS, camera))

    def arm(self, ms):
        stamp = self.start + ms * MS
        self.joints.publish(convert.joint_message(JOINTS, [0.1] * len(JOINTS), [0.0] * len(JOINTS), stamp))
        self.ee.publish(convert.pose_message(np.zeros(3), np.array([1.0, 0, 0, 0]), stamp, "base_link"))


@pytest.fixture
def reader(ros):
    node = Reader(ros.context)
    ros.executor.add_node(node)
    yield node
    ros.executor.remove_node(node)
    node.destroy_node()


def taken(reader):
    """ms of the images that would be acted on, by camera."""
    _, found = reader.source.take()
    return {name: convert.header_ns(found[f"image {name}"]) for name in TWO["cameras"]}


def test_the_newest_set_that_agrees(ros, reader):
    rig = Rig(ros)
    rig.arm(0)
    for ms in (0, 33, 66, 100):
        rig.image("scene", ms)
    assert ros.holds(lambda: reader.source.problem(0), 5.0)  # the wrist's are late
    for ms in (5, 38, 71):
        rig.image("wrist", ms)
    newest = {"scene": rig.start + 66 * MS, "wrist": rig.start + 71 * MS}
    ros.until(lambda: not reader.source.problem(0) and taken(reader) == newest, "images of one moment")
    rig.image("scene", 133)
    rig.image("wrist", 138)  # 105 was dropped on the way
    newest = {"scene": rig.start + 133 * MS, "wrist": rig.start + 138 * MS}
    ros.until(lambda: taken(reader) == newest, "the next moment that both saw")
    stamp, found = reader.source.take()
    assert stamp == rig.start + 133 * MS
    seen = reader.source.unpack(found)
    assert list(seen.views) == TWO["cameras"] and seen.rgb is seen.views["scene"]
    figures = reader.source.figures()
    assert figures["camera_spread_s"] == pytest.approx(0.005) == figures["camera_spread_max_s"]
    assert reader.source.problem(rig.start + 500 * MS)  # as after a reset


def test_a_camera_that_falls_silent_is_named(ros, reader):
    rig = Rig(ros)
    rig.arm(0)
    rig.image("scene", 0)
    rig.image("wrist", 0)
    ros.until(lambda: not reader.source.problem(0), "the first images")
    clock = iter(range(33, 10**6, 33))

    def silent():
        rig.image("scene", next(clock))
        return "wrist" in reader.source.problem(0)

    ros.until(silent, "the wrist's silence to be told")
    after = next(clock)
    rig.image("scene", after)
    rig.image("wrist", after)
    ros.until(lambda: not reader.source.problem(0), "it comes back")


@pytest.mark.parametrize("wrong", ["no_wrist", "apart", "size"])
def test_what_no_waiting_mends_ends_the_controller_at_its_start(ros, tmp_path, wrong):
    rig = Rig(ros, readers=0)  # they send before it looks for them
    wait = {"camera_sizes": [32, 32, 32, 32], "camera_wait_s": 2.0 if wrong == "no_wrist" else 10.0}
    process = ros.start("policy_controller", **{**REAL, **wait})
    clock = iter(range(0, 10**6, 33))

    def ended():
        ms = next(clock)
        rig.arm(ms)
        rig.image("scene", ms)
        if wrong == "apart":
            rig.image("wrist", ms + 16 + 1000 * 60)
        elif wrong == "size":
            rig.image("wrist", ms, size=(64, 48))
        return process.poll() is not None

    ros.until(ended, "the controller to refuse them")
    assert process.returncode == 2
    named = {"no_wrist": "wrist", "apart": "camera_tolerance_s", "size": "64x48"}[wrong]
    assert named in ros.log("policy_controller")


def test_in_lock_step_episodes_hold_what_each_camera_saw(ros):
    sensor = qos.sensor(True, 500)
    seen = {n: ros.collect(Image, names.NAMED_IMAGE.format(n), sensor) for n in TWO["cameras"]}
    raw = ros.collect(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
    states = ros.collect(String, names.RUN_STATE, qos.latched())
    learner = ros.node.create_publisher(UInt8MultiArray, names.ACTOR, qos.latched())
    ros.start("sim_bridge", **TWO, camera_sizes=[0, 0, 64, 64])
    ros.start("safety_guard")
    ros.start(
        "policy_controller", **TWO, camera_sizes=[0, 0, 64, 64], auto_arm=True, eval_every=0, image_size=48,
        final_eval_episodes=0,
    )  # fmt: skip
    meta = {"version": 1, "env_steps": 0, "episodes": 0, "episode_budget": 1, "phase": "explore"}
    learner.publish(convert.bytes_message(encode(Bundle("actor", {}, meta))))
    ros.until(lambda: raw, f"an episode; {[s.data for s in states[-1:]]}")
    episode = Episode.from_bundle(decode(convert.bytes_of(raw[0]), "episode"))
    assert episode.spaces.observation.cameras == ("scene", "wrist")
    by_stamp = {n: {convert.header_ns(m): m for m in messages} for n, messages in seen.items()}
    assert (seen["scene"][0].width, seen["wrist"][0].width) == (128, 64)
    for stamp, frame in zip(episode.stamps.tolist()[::10], episode.jpegs[::10]):
        for name in TWO["cameras"]:
            kept, sent = decode_jpeg(view(frame, name)), convert.image_to_rgb(by_stamp[name][stamp])
            assert kept.shape == (48, 48, 3)
            assert abs(kept.mean() - sent.mean()) < 4
    assert json.loads(states[-1].data)["state"] != "failed"


def write_video(path, value):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (96, 64))
    for _ in range(30):
        writer.write(np.full((64, 96, 3), value, np.uint8))
    writer.release()
    return path


def test_a_real_graph_has_a_node_for_each_camera(ros, tmp_path):
    """As the launch files and the command line start them: names, remappings, parameter files."""
    parameters = {"profile": "96x64x30", "loop": True, "warmup_frames": 0}
    cameras = [
        {"name": name, "source": f"v4l:{write_video(tmp_path / f'{name}.avi', value)}", "parameters": dict(parameters)}
        | more
        for name, value, more in (("scene", 60, {"size": [32, 32], "crop": [16, 0, 64, 64]}), ("wrist", 200, {}))
    ]
    robot = yaml.safe_load(resource("config/robots/sim_arm.yaml").read_text()) | {"cameras": cameras}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
    (tmp_path / "config").mkdir()
    graph = train_real(RunArguments("drawer_open", tmp_path, headless=True, robot=str(tmp_path / "robot.yaml")))
    graph = graph.write_parameters(tmp_path / "config")
    seen = {n: ros.collect(Image, names.NAMED_IMAGE.format(n), qos.sensor(True)) for n in TWO["cameras"]}
    told = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 50)
    for name in TWO["cameras"]:
        spec = graph.node(f"camera_{name}")
        log = (tmp_path / f"{spec.name}.log").open("a")
        command = [sys.executable, *spec.command()]
        ros.processes[spec.name] = subprocess.Popen(
            command, cwd=tmp_path, env=ros.environment(), stdout=log, stderr=log
        )  # fmt: skip
        log.close()
    ros.until(lambda: all(seen.values()), "images of both cameras")
    sizes = {name: (messages[-1].width, messages[-1].height) for name, messages in seen.items()}
    assert sizes == {"scene": (32, 32), "wrist": (96, 64)}
    for name, value in (("scene", 60), ("wrist", 200)):
        message = seen[name][-1]
        assert message.header.frame_id == f"{name}_color_optical_frame"
        assert abs(convert.image_to_rgb(message).mean() - value) < 8
    statuses = lambda: {status.name.partition(":")[0] for message in told for status in message.status}  # noqa: E731
    ros.until(lambda: {"camera_scene", "camera_wrist"} <= statuses(), "how each of them does")
