# SPDX-License-Identifier: Apache-2.0
"""monitor as a process, over real DDS: figures, files, dashboard, and its end."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float32MultiArray, String, UInt8MultiArray
from visualization_msgs.msg import MarkerArray

from erl_vlm_ros.common import names
from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.reward.configs import TrunkConfig
from erl_vlm_ros.reward.heads import Heads
from erl_vlm_ros.reward.model import TrunkRewardModel
from erl_vlm_ros.reward.trunk import Trunk
from erl_vlm_ros.ros import convert, qos

JPEG = encode_jpeg(np.full((128, 128, 3), 120, np.uint8))
STEPS = 3


class Run:
    """A running monitor and the topics that it listens to."""

    def __init__(self, ros, folder, **parameters):
        self.ros, self.folder = ros, folder
        ros.start("monitor", run_dir=str(folder), max_steps=1000, settle_s=20.0, **parameters)
        self.metrics = ros.publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self.ratings = ros.publisher(UInt8MultiArray, names.LABELS, qos.bulk())
        self.evaluations = ros.publisher(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
        self.transitions = ros.publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self.truths = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
        self.states = ros.publisher(String, names.RUN_STATE, qos.latched())

    def figures(self, node="learner", **values):
        self.metrics.publish(convert.metrics_message(node, values, 0))

    def truth(self, stamp, **values):
        full = {"progress": 0.5, "success": 0.0, **{f"class_{n}": 0.0 for n in (2, 3, 4, 5)}, **values}
        self.truths.publish(convert.metrics_message("ground_truth", full, stamp))

    def episode(self, index, last_stamp, evaluation):
        stamps = np.arange(last_stamp - STEPS, last_stamp + 1)
        episode = Episode(
            np.zeros((STEPS + 1, 19)), np.zeros((STEPS, 3)), [JPEG] * (STEPS + 1), stamps, False, True,
            evaluation, index, 1, 7, 10,
        )  # fmt: skip
        topic = self.evaluations if evaluation else self.transitions
        topic.publish(convert.bytes_message(encode(episode.to_bundle())))

    def rate(self, number, ratings, first_stamp):
        rated = []
        for i, rating in enumerate(ratings):
            stamps = np.array([first_stamp + i])
            segment = Segment(f"e0_t{i}_h1", [JPEG], np.zeros((1, 10)), np.zeros((1, 3)), stamps)
            rated.append(Label.of(segment, rating))
        batch = LabelBatch(number, 5, len(ratings), rated)
        self.ratings.publish(convert.bytes_message(encode(batch.to_bundle())))

    def state(self, state, **more):
        said = {"state": state, "env_steps": 500, "episodes": 10, "eval_round": 1, "eval_episodes": 2, **more}
        self.states.publish(String(data=json.dumps(said)))

    def read(self, name):
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}

    def until_progress(self, **values):
        self.ros.until(
            lambda: all(self.read("progress.json").get(k) == v for k, v in values.items()),
            f"progress {values}",
        )

    def ended(self):
        process = self.ros.processes.pop("monitor")
        self.ros.until(lambda: process.poll() is not None, "the monitor to end")
        return process.returncode


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    return out


def test_a_whole_run(ros, folder):
    run = Run(ros, folder)
    run.figures(env_steps=450.0, episodes=9.0, episode_return=12.5, alpha=0.1)
    for stamp, right in ((1, 0.0), (2, 3.0), (3, 4.0)):
        run.truth(stamp, class_5=right)
    run.rate(0, [0, 3, 1, -1], first_stamp=1)
    run.state("evaluating")
    run.episode(0, 20, True)
    run.truth(20, success=1.0, progress=1.0)
    run.state("finished")  # overtakes the last episode, and that overtakes its truth
    ros.serve(1.5)
    run.episode(1, 30, True)
    ros.serve(1.5)
    assert ros.processes["monitor"].poll() is None
    run.truth(30)
    assert run.ended() == 0
    summary = run.read("summary.json")
    assert (summary["state"], summary["env_steps"], summary["episodes"]) == ("finished", 500, 10)
    assert (summary["ratings_requested"], summary["ratings_valid"]) == (4, 3)
    assert summary["rating_accuracy"] == pytest.approx(2 / 3, abs=1e-3)
    assert (summary["success_rate"], summary["eval_episodes"]) == (0.5, 2)
    assert run.read("progress.json")["episode_return"] == 12.5
    for name in ("learning_curve.png", "evaluation.mp4"):
        assert (folder / name).stat().st_size > 1000, name
    assert "alpha" in (folder / "metrics.csv").read_text()


def test_a_run_that_failed_says_why(ros, folder):
    run = Run(ros, folder)
    run.state("failed", waiting_for="reset failed: the arm is stuck")
    assert run.ended() == 1
    assert "the arm is stuck" in ros.log("monitor")
    assert run.read("summary.json")["state"] == "failed"


def test_interrupted_and_taken_up_again(ros, folder):
    run = Run(ros, folder)
    run.figures(env_steps=300.0, episodes=6.0)
    run.rate(0, [1, 2], first_stamp=1)
    run.until_progress(env_steps=300, ratings_valid=2)
    assert ros.stop("monitor", signal.SIGINT) == 0
    assert run.read("summary.json")["state"] == "interrupted"
    again = Run(ros, folder)
    again.rate(1, [1], first_stamp=3)
    again.until_progress(env_steps=300, ratings_valid=3)
    assert ros.stop("monitor", signal.SIGTERM) == 0


def test_dashboard_and_markers_with_each_episode(ros, folder):
    images = ros.collect(Image, names.MONITOR_IMAGE, qos.latched())
    markers = ros.collect(MarkerArray, names.MONITOR_MARKERS, qos.latched())
    box = [0.4, -0.1, 0.0, 0.5, 0.1, 0.1]
    run = Run(ros, folder, dashboard_s=0.2, forbidden_boxes=box)
    rewards = ros.publisher(Float32MultiArray, names.EPISODE_REWARD, qos.latched())
    rewards.publish(convert.rewards_message(np.array([0.0, 0.5, 1.0]), 0))  # overtakes its episode
    run.episode(0, 10, False)
    run.rate(0, [4], first_stamp=10)

    def shown(space):
        return [m for m in markers[-1].markers if m.ns == space] if markers else []

    ros.until(lambda: images and shown("tool") and shown("path"), "dashboard and markers")
    ros.until(lambda: shown("path")[0].colors and "1.00" in shown("tool")[0].text, "the learned reward")
    assert "Very Good" in shown("tool")[0].text and len(shown("path")[0].colors) == STEPS + 1
    assert len(shown("forbidden")) == 2 and len(shown("workspace")) == 1
    assert {m.header.frame_id for m in markers[-1].markers} == {"base_link"}
    assert shown("state")[0].text == "NOT HEARD"
    estop = ros.publisher(Bool, names.ESTOP_STATE, qos.latched())
    estop.publish(Bool(data=True))
    ros.until(lambda: shown("state")[0].text == "E-STOP", "the e-stop")
    assert shown("state")[0].color.r > 0.8 and shown("state")[0].color.g < 0.2
    seen = len(images)
    ros.until(lambda: len(images) > seen + 1, "the next image")
    image = convert.image_to_rgb(images[-1])
    assert image.shape == (720, 1280, 3) and (image[0] == (222, 38, 38)).all()  # the red frame


@pytest.mark.timing
def test_a_nodes_death_is_told_within_seconds(ros, folder):
    reports = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 50)
    Run(ros, folder, dashboard_s=0.2, nodes=["safety_guard", "learner"], start_s=5.0)
    ros.start("safety_guard")

    def verdict(node):
        statuses = [s for m in reports for s in m.status if s.name == f"erl_vlm_ros: {node}"]
        return statuses[-1] if statuses else None

    ros.until(lambda: verdict("safety_guard") and "disarmed" in verdict("safety_guard").message, "the guard to live")
    assert verdict("safety_guard").level == b"\x01"
    ros.processes["safety_guard"].kill()
    began = time.monotonic()
    ros.until(lambda: verdict("safety_guard").level == b"\x03", "the guard's death", 15.0)
    assert time.monotonic() - began < 8.0  # about 5 s where the machine is not busy
    assert "silent" in verdict("safety_guard").message
    ros.until(lambda: verdict("learner").level == b"\x03", "a node that never came")


def test_real_time_shows_the_image_and_its_learned_reward_as_they_come(ros, folder):
    markers = ros.collect(MarkerArray, names.MONITOR_MARKERS, qos.latched())
    run = Run(ros, folder, dashboard_s=0.2, lock_step=False)
    images = ros.publisher(Image, names.IMAGE, qos.sensor())
    joints = ros.publisher(JointState, names.JOINT_STATES, qos.sensor())
    poses = ros.publisher(PoseStamped, names.EE_POSE, qos.sensor())
    models = ros.publisher(UInt8MultiArray, names.REWARD_MODEL, qos.latched())
    model = TrunkRewardModel(Trunk(TrunkConfig(), 10), constant_heads(0.75), 1, 1)
    models.publish(convert.bytes_message(encode(model.to_bundle())))
    run.state("running", detail="running", eval_round=0, eval_episodes=0)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    stamp = 0
    shown = {}

    def look():
        nonlocal stamp
        stamp += 50_000_000
        images.publish(convert.image_message(image, stamp, "camera"))
        arm = ["joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "finger_left", "finger_right"]
        joints.publish(convert.joint_message(arm, [0.1] * 8, [0.0] * 8, stamp))
        poses.publish(convert.pose_message((0.4, 0.0, 0.1 + stamp * 1e-11), (0, 0, 0, 1), stamp, "base_link"))
        ros.serve(0.05)
        shown.update({m.ns: m for m in markers[-1].markers} if markers else {})
        return "tool" in shown and "path" in shown and len(shown["path"].colors) > 2

    ros.until(look, "the learned reward beside the tool")
    assert "0.75" in shown["tool"].text
    assert shown["tool"].pose.position.z == pytest.approx(shown["path"].points[-1].z + 0.06)
    assert shown["state"].lifetime.sec > 0  # what a dead monitor left goes away


def constant_heads(value):
    """Heads for five classes whose expected rating is ``value`` whatever they see."""
    width = 128 + 10
    weights = [torch.zeros(2, width, 4), torch.zeros(2, 1, 4), torch.zeros(2, 4, 4), torch.zeros(2, 1, 4)]
    logits = torch.full((2, 1, 5), -50.0)
    logits[..., round(value * 4)] = 0.0
    return Heads(torch.zeros(width), torch.ones(width), [*weights, torch.zeros(2, 4, 5), logits])


def test_rubbish_is_ignored(ros, folder):
    run = Run(ros, folder)
    run.ratings.publish(convert.bytes_message(b"rubbish"))
    run.evaluations.publish(convert.bytes_message(b"rubbish"))
    run.states.publish(String(data="not json"))
    run.figures(env_steps=5.0)
    run.until_progress(env_steps=5)
    assert ros.stop("monitor") == 0
    for word in (names.LABELS, names.EVALUATION_EPISODES, names.RUN_STATE):
        assert word in ros.log("monitor")


def test_a_folder_that_is_not_there(ros, tmp_path):
    process = ros.start("monitor", run_dir=str(tmp_path / "absent"))
    ros.until(lambda: process.poll() is not None, "a refusal")
    assert process.returncode == 2 and "run_dir" in ros.log("monitor")
