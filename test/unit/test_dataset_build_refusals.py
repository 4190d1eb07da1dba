# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm dataset build`: every reason for which a recording is not taken."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra bag")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import synthetic_bag as sb  # noqa: E402
from recording_build import ROBOT, TASK, Session, bag, build, why  # noqa: E402
from synthetic_bag import CAMERA, COMMAND, JOINTS, POSE, Message, write_bag  # noqa: E402

from erl_vlm_ros.common.errors import ConfigError  # noqa: E402
from erl_vlm_ros.recordings.bag import find_bags  # noqa: E402
from erl_vlm_ros.recordings.options import BuildOptions  # noqa: E402
from erl_vlm_ros.recordings.problems import Reason, RecordingError  # noqa: E402
from erl_vlm_ros.robot.spec import load_robot  # noqa: E402


@pytest.mark.parametrize("topic", [CAMERA, JOINTS, POSE, COMMAND])
def test_a_missing_topic(tmp_path, topic):
    path = bag(tmp_path, Session(topics=[t for t in Session().topics if t != topic]))
    ((reason, named),) = why(path)
    assert reason is (Reason.URDF if topic == POSE else Reason.NO_TOPIC)
    assert topic == POSE or topic.strip("/").split("/")[0] in named


def test_the_object_is_asked_for_or_left_out(tmp_path):
    path = bag(tmp_path, Session(topics=(CAMERA, JOINTS, POSE, COMMAND)))
    assert why(path, observe="state") == {(Reason.NO_TOPIC, "object_pose")}
    assert "object" not in build(path)[0][0].spaces.observation
    whole = bag(tmp_path, Session(), name="whole")
    assert "object" in build(whole)[0][0].spaces.observation
    assert "object" not in build(whole, observe="images")[0][0].spaces.observation
    episodes, report = build([whole, path])  # one dataset has one observation
    assert len(episodes) == 1 and [one.reason for one in report.skipped] == [Reason.SPACES]


@pytest.mark.parametrize("topic", [CAMERA, JOINTS, POSE])
def test_gaps(tmp_path, topic):
    path = bag(tmp_path, Session(), drop=lambda m: m.topic == topic and 2 < m.at_s < 2.4)
    assert why(path) == {(Reason.GAP, topic)}
    assert len(build(path, tolerance_s=0.4)[0]) == 1


def test_a_slow_camera(tmp_path):
    assert why(bag(tmp_path, Session(camera_hz=5))) == {(Reason.SLOW_CAMERA, CAMERA)}


def jumping(tmp_path, by_s, name):
    messages = list(Session().messages())
    for m in messages:
        if m.at_s > 3:
            at = m.content.header.stamp
            total = at.sec * 10**9 + at.nanosec + round(by_s * 1e9)
            object.__setattr__(at, "sec", total // 10**9)
            object.__setattr__(at, "nanosec", total % 10**9)
    return write_bag(tmp_path / name, messages)


@pytest.mark.parametrize("by_s", [-2.0, -0.5, 3600.0])
def test_a_clock_that_jumps(tmp_path, by_s):
    path = jumping(tmp_path, by_s, "jump")
    assert {reason for reason, _ in why(path)} == {Reason.CLOCK_JUMPS}
    assert build(path, clock="received")[0][0].steps == 59
    episodes, report = build(path, episodes="idle", idle_s=1.0, action="next-pose")
    assert not episodes and report.recordings[0]["clock_jumps"][0]["by_s"] == pytest.approx(by_s, abs=0.05)


def test_an_episode_beside_the_jump_is_taken(tmp_path):
    messages = list(Session().messages())
    marks = [Message("/demo", at, sb.simple("Int32", k), "std_msgs/msg/Int32") for k, at in enumerate((0.5, 2.0, 4.0))]
    for m in messages:
        if m.at_s > 3:
            object.__setattr__(m.content.header.stamp, "sec", m.content.header.stamp.sec - 100)
    path = write_bag(tmp_path / "bag", sorted([*messages, *marks], key=lambda m: m.at_s))
    episodes, report = build(path, episode_topic="/demo")
    assert [one["number"] for one in report.episodes] == [0, 2] and len(episodes) == 2
    assert [(one.episode, one.reason) for one in report.skipped] == [(1, Reason.CLOCK_JUMPS)]


def test_two_clocks(tmp_path):
    path = bag(tmp_path, Session(offset_s={CAMERA: 30.0}))
    assert why(path) == {(Reason.CLOCKS_APART, CAMERA)}
    assert len(build(path, clock="received")[0]) == 1
    near = bag(tmp_path, Session(offset_s={CAMERA: -0.2}), name="near")  # a slow camera: told, not refused
    assert build(near)[1].recordings[0]["stamps_behind_s"][CAMERA] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_truncated_bag_is_left_out_by_name(tmp_path, sqlite):
    whole, cut = bag(tmp_path, Session(), name="whole"), bag(tmp_path, Session(), name="cut", sqlite=sqlite)
    (file,) = [f for f in cut.iterdir() if f.suffix in (".mcap", ".db3")]
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    episodes, report = build([cut, whole])
    assert len(episodes) == 1
    assert [(one.recording, one.episode, one.reason) for one in report.skipped] == [(str(cut), None, Reason.TRUNCATED)]
    (cut / "metadata.yaml").unlink()  # as a recorder that was killed leaves it
    assert {reason for reason, _ in why(cut)} == {Reason.TRUNCATED}


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_damaged_bag_is_left_out_by_name(tmp_path, sqlite):
    path = bag(tmp_path, Session(seconds=2), sqlite=sqlite)
    (file,) = [f for f in path.iterdir() if f.suffix in (".mcap", ".db3")]
    whole = file.read_bytes()
    for seed in range(6):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for _ in range(40):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        file.write_bytes(data)
        episodes, report = build(path)  # a flipped bit within an image, or in a number, may go unseen
        assert bool(episodes) != bool(report.skipped)


def test_what_is_no_bag(tmp_path):
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "x", tmp_path / "nothing"):
        with pytest.raises(RecordingError) as error:
            build(path)
        assert error.value.reason is Reason.NO_BAG and error.value.file == str(path)
    path = bag(tmp_path, Session(), name="x/a")
    assert find_bags([tmp_path]) == [path]
    with pytest.raises(RecordingError):
        find_bags([path, path])


def test_another_frame(tmp_path):
    assert why(bag(tmp_path, Session(base_frame="world"))) == {(Reason.FRAME, POSE)}


def test_another_robot(tmp_path):
    path = bag(tmp_path, Session())
    robot = load_robot("ur5e")
    robot = robot.model_copy(update={"base_frame": "base_link", "remap": {}})
    assert why(path, robot=robot) == {(Reason.JOINTS, JOINTS)}


def test_numbers_that_are_not_finite(tmp_path):
    nan = float("nan")
    bad = [Message(COMMAND, 2.01, sb.twist((nan, 0, 0), 2.01, "base_link"))]
    assert why(bag(tmp_path, Session(), *bad)) == {(Reason.NOT_FINITE, COMMAND)}
    one = [Message(JOINTS, 2.003, sb.joint_state(ROBOT.joints, [nan] * 6, 2.003))]
    episodes, report = build(bag(tmp_path, Session(), *one, name="joints"))  # one of 600: the next is as good
    assert len(episodes) == 1 and report.recordings[0]["left_out_messages"] == {JOINTS: 1}


def test_no_command_while_it_lasts(tmp_path):
    session = Session(topics=(CAMERA, JOINTS, POSE))
    path = bag(tmp_path, session, Message(COMMAND, 9.0, sb.twist((0, 0, 0), 9.0, "base_link")))
    more = [Message("/demo", at, sb.simple("Bool", v), "std_msgs/msg/Bool") for at, v in ((1, True), (4, False))]
    path = bag(tmp_path, session, *more, Message(COMMAND, 5.0, sb.twist((0, 0, 0), 5.0, "base_link")), name="other")
    assert why(path, episode_topic="/demo") == {(Reason.NO_COMMAND, COMMAND)}


def test_an_image_that_cannot_be_decoded(tmp_path):
    def spoil(message):
        if message.topic == CAMERA and 2.0 <= message.at_s < 2.2:
            return replace(message, content=sb.image(b"\xff\xd8\xff" + bytes(50), message.at_s))
        return message

    path = write_bag(tmp_path / "bag", [spoil(m) for m in Session().messages()])
    assert why(path) == {(Reason.IMAGE, CAMERA)}


def test_short_episodes(tmp_path):
    path = bag(tmp_path, Session())
    assert {reason for reason, _ in why(path, min_steps=100)} == {Reason.SHORT}


def test_options_are_judged():
    for wrong in ({"episodes": "topic"}, {"episodes": "idle", "episode_topic": "/x"}, {"idle_s": 0.0}, {"late_s": -1.0},
                  {"min_steps": 0}, {"clock": "mine"}):  # fmt: skip
        with pytest.raises(ConfigError):
            BuildOptions(ROBOT, TASK, **wrong)
