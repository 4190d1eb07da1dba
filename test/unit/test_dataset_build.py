# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm dataset build`: what comes out of a recording."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra bag")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import synthetic_bag as sb  # noqa: E402
from factories import make_episode  # noqa: E402
from recording_build import OTHER_FINGERS, ROBOT, TASK, Session, bag, build, why  # noqa: E402
from synthetic_bag import CAMERA, COMMAND, JOINTS, OBJECT, POSE, Message, write_bag  # noqa: E402

from erl_vlm_ros.cli import main  # noqa: E402
from erl_vlm_ros.common.errors import ConfigError  # noqa: E402
from erl_vlm_ros.common.tasks import load_task  # noqa: E402
from erl_vlm_ros.common.yaml_file import dump_yaml  # noqa: E402
from erl_vlm_ros.data.bundle import encode  # noqa: E402
from erl_vlm_ros.data.dataset import DatasetSource, survey  # noqa: E402
from erl_vlm_ros.data.spaces import GRIPPER, run_spaces  # noqa: E402
from erl_vlm_ros.data.spaces import JOINTS as JOINT_PART
from erl_vlm_ros.recordings.problems import Reason  # noqa: E402
from erl_vlm_ros.robot.spec import load_robot  # noqa: E402
from erl_vlm_ros.runs.dataset_build import by_hand  # noqa: E402

# -- what comes out


@pytest.mark.parametrize("sqlite", [False, True])
def test_frames_states_and_commands_belong_together(tmp_path, sqlite):
    session = Session(delay_s=0.015, joint_hz=100.0)
    (episode,), report = build(bag(tmp_path, session, sqlite=sqlite))
    t = (episode.stamps - sb.BEGAN_NS) / 1e9
    np.testing.assert_allclose(np.diff(t), 0.1, atol=1e-6)
    assert episode.steps == 59 and report.episodes[0]["steps"] == 59  # the last image is no tick's
    joints = episode.part(JOINT_PART)
    np.testing.assert_allclose(joints, np.sin(t[:, None] + np.arange(6)), atol=0.006)  # 5 ms from the nearest
    np.testing.assert_allclose(episode.part("ee_position"), [session.position(s) for s in t], atol=1e-3)
    middle = t[:-1] + 0.05
    wanted = np.stack([0.1 * np.sin(middle), 0.1 * np.cos(middle), 0 * middle], axis=1) / TASK.linear_speed
    np.testing.assert_allclose(episode.actions, wanted, atol=0.005)  # held for 20 ms each
    assert episode.intervention.all() and episode.success is None
    assert report.alignment_ms()[JOINTS]["largest"] <= 5.0 and episode.spaces.observation.joint_names == ROBOT.joints


def test_next_pose_is_the_motion(tmp_path):
    session = Session(topics=(CAMERA, JOINTS, POSE))
    (episode,), report = build(bag(tmp_path, session), action="next-pose")
    t = (episode.stamps - sb.BEGAN_NS) / 1e9
    wanted = np.diff([session.position(s) for s in t], axis=0) / 0.1 / TASK.linear_speed
    np.testing.assert_allclose(episode.actions, wanted, atol=0.02)
    assert "object" not in episode.spaces.observation and report.episodes[0]["faster_than_task"] == 0
    slow = replace(TASK, linear_speed=0.01)
    assert build(tmp_path / "bag", action="next-pose", task=slow)[1].episodes[0]["faster_than_task"] == 1.0


def test_two_streams_of_joint_states(tmp_path):
    path = bag(tmp_path, Session(fingers_topic="/gripper/joint_states"))
    assert why(path) == {(Reason.JOINTS, JOINTS)}  # the robot file names one topic only
    (episode,), _ = build(path, robot=OTHER_FINGERS)
    np.testing.assert_allclose(episode.part(GRIPPER), 0.02, atol=1e-6)


@pytest.mark.parametrize("hz", [9.98, 10.03, 15.0, 29.97, 60.0])
def test_a_camera_of_any_rate_gives_the_control_rate(tmp_path, hz):
    (episode,), _ = build(
        bag(tmp_path, Session(seconds=40, camera_hz=hz, joint_hz=50, topics=(CAMERA, JOINTS, POSE, COMMAND)))
    )
    steps = np.diff(episode.stamps) / 1e9
    assert steps.min() > 0.049 and steps.max() < 0.151 and abs(steps.mean() - 0.1) < 0.001


def test_raw_images_and_received_time(tmp_path):
    session = Session(topics=(JOINTS, POSE, COMMAND))
    images = [
        Message("/cam/image_raw", k / 20, sb.raw_image(session.image(k), None), "sensor_msgs/msg/Image")
        for k in range(120)
    ]
    (episode,), _ = build(bag(tmp_path, session, *images))  # its stamps are zero: when it was received counts
    assert episode.steps == 59
    assert build(tmp_path / "bag", clock="received")[0][0].steps == 59


def test_pose_by_forward_kinematics(tmp_path):
    from erl_vlm_ros.robot.kinematics import Kinematics

    path = bag(tmp_path, Session(topics=(CAMERA, JOINTS, COMMAND)))
    assert why(path) == {(Reason.URDF, "")}
    urdf = tmp_path / "arm.urdf"
    urdf.write_text(_urdf())
    (episode,), _ = build(path, urdf=str(urdf))
    arm = Kinematics.from_file(urdf, ROBOT.base_frame, ROBOT.tool_frame)
    wanted = [arm.forward(q)[0] for q in episode.part(JOINT_PART)]
    np.testing.assert_allclose(episode.part("ee_position"), wanted, atol=1e-6)


def test_commands_in_the_tools_frame_are_turned(tmp_path):
    session, turned = Session(topics=(CAMERA, JOINTS)), (0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4))
    more = [Message(POSE, k / 50, sb.pose((0, 0, 0), k / 50, "base_link", turned)) for k in range(300)]
    more += [Message(COMMAND, k / 50, sb.twist((0.1, 0, 0), k / 50, "tool0")) for k in range(300)]
    (episode,), _ = build(bag(tmp_path, session, *more))
    np.testing.assert_allclose(episode.actions, np.tile([0, 0.2, 0], (episode.steps, 1)), atol=1e-6)


def test_a_command_holds_only_so_long(tmp_path):
    session = Session(topics=(CAMERA, JOINTS, POSE))
    (episode,), _ = build(bag(tmp_path, session, Message(COMMAND, 1.0, sb.twist((0.1, 0, 0), 1.0, "base_link"))))
    np.testing.assert_allclose(episode.actions[:, 0].sum() * 0.1, 0.2 * 0.5, atol=1e-6)  # for 0.5 s


def test_steps_follow_commands_that_come_at_the_control_rate(tmp_path):
    session, rng = Session(topics=(CAMERA, JOINTS, POSE)), np.random.default_rng(0)
    values = rng.uniform(-0.4, 0.4, 60)
    more = [
        Message(COMMAND, k / 10 + 0.04, sb.twist((v, 0, 0), k / 10 + 0.04, "base_link")) for k, v in enumerate(values)
    ]
    (episode,), _ = build(bag(tmp_path, session, *more))
    assert (episode.stamps[0] - sb.BEGAN_NS) / 1e9 == pytest.approx(1 / 30, abs=1e-3)  # 7 ms before, not 40
    before = np.concatenate([[0.0], values[: episode.steps - 1]])
    mixed = 0.93 * values[: episode.steps] + 0.07 * before
    np.testing.assert_allclose(episode.actions[:, 0], mixed / TASK.linear_speed, atol=0.01)


# -- where episodes begin and end, and how they went


def marked(tmp_path, kind, *values):
    more = [Message("/demo", at, sb.simple(kind, value), f"std_msgs/msg/{kind}") for at, value in values]
    return bag(tmp_path, Session(), *more, name=kind)


def spans(report):
    return [(round(e["start_s"], 2), round(e["end_s"], 2)) for e in report.episodes]


def test_episodes_by_a_topic(tmp_path):
    path = marked(tmp_path, "Bool", (1.0, True), (2.5, False), (3.0, True), (5.0, False))
    assert spans(build(path, episode_topic="/demo")[1]) == [(1.0, 2.5), (3.0, 5.0)]
    path = marked(tmp_path, "Int32", (0.5, 0), (2.0, -1), (3.0, 1))
    assert [s for s, _ in spans(build(path, episode_topic="demo")[1])] == [0.5, 3.0]
    path = marked(tmp_path, "Empty", (2.0, None), (4.0, None))
    assert [s for s, _ in spans(build(path, episode_topic="/demo")[1])] == [0.0, 2.0, 4.0]
    path = marked(tmp_path, "String", (2.0, "go"))
    assert why(path, episode_topic="/demo") == {(Reason.TYPE, "/demo")}
    path = bag(tmp_path, Session(), Message("/demo", 1.0, sb.simple("Bool", False), "std_msgs/msg/Bool"), name="none")
    assert why(path, episode_topic="/demo") == {(Reason.NO_EPISODE, "/demo")}


def test_episodes_by_pauses(tmp_path):
    def velocity(t):
        return (0.1, 0, 0) if t < 2 or t > 4 else (0, 0, 0)

    path = bag(tmp_path, Session(velocity=velocity))
    assert [round(s) for span in spans(build(path, episodes="idle", idle_s=1.0)[1]) for s in span] == [0, 2, 4, 6]
    assert len(build(path, episodes="idle", idle_s=3.0)[0]) == 1
    path = bag(tmp_path, Session(velocity=velocity, topics=(CAMERA, JOINTS, POSE)), name="poses")
    assert len(build(path, episodes="idle", idle_s=1.0, action="next-pose")[0]) == 2


def test_success_by_topic_and_by_hand(tmp_path):
    more = [
        Message("/demo", at, sb.simple("Bool", v), "std_msgs/msg/Bool") for at, v in ((0, 1), (2, 0), (3, 1), (5, 0))
    ]
    said = [(1.9, True), (2.6, False), (5.5, True)]  # the second word comes between the episodes, and does not count
    more += [Message("/said", at, sb.simple("Bool", v), "std_msgs/msg/Bool") for at, v in said]
    path = bag(tmp_path, Session(), *more)
    given = {"episode_topic": "/demo", "success_topic": "/said"}
    assert [e.success for e in build(path, **given)[0]] == [True, True]
    assert [e.success for e in build(path, episode_topic="/demo")[0]] == [None, None]
    assert [e.success for e in build(path, by_hand("1"), **given)[0]] == [False, True]
    assert [e.success for e in build(path, by_hand("no"), **given)[0]] == [False, False]
    for wrong in ("maybe", "1-", "3-2", "1,,2"):
        with pytest.raises(ConfigError):
            by_hand(wrong)


def test_run_state_tells_episodes_and_who_drove(tmp_path):
    def state(at, detail, driven):
        text = json.dumps({"state": "running", "detail": detail, "intervention": driven})
        return Message(sb.STATE, at, sb.simple("String", text))

    more = [state(0.5, "running", False), state(1.45, "running", True), state(2.05, "running", False)]
    more += [state(3.0, "resetting", False), state(3.5, "evaluating", False)]
    kind, let_through = "geometry_msgs/msg/TwistStamped", (0.25, 0, 0)
    more += [Message("/safety_guard/executed", k / 50, sb.twist(let_through, k / 50, ""), kind) for k in range(300)]
    (episode,), report = build(bag(tmp_path, Session(), *more))
    assert spans(report) == [(0.5, 3.0)]  # an evaluation is not learned from
    driven = (episode.stamps[:-1] - sb.BEGAN_NS) / 1e9
    np.testing.assert_array_equal(episode.intervention, (driven > 1.34) & (driven < 2.04))
    np.testing.assert_allclose(episode.actions[episode.intervention, 0], 0.5, atol=1e-6)  # what the guard let through


def test_episodes_of_our_own_controller_are_taken_whole(tmp_path):
    spaces = run_spaces({"joint_names": list(ROBOT.joints), "gripper_joints": list(ROBOT.gripper.joints),
                         "gripper_max": 0.08, "observe": "state"}, TASK)  # fmt: skip
    shown = [make_episode(i, 8 + i, side=16, spaces=spaces, success=bool(i)) for i in range(2)]
    other = make_episode(5, 9, side=16)

    def message(at, episode):
        data = sb.simple("UInt8MultiArray", encode(episode.to_bundle()))
        return Message("/learning/transitions", at, data, "std_msgs/msg/UInt8MultiArray")

    messages = [
        message(k, e) for k, e in enumerate([*shown, shown[0], other, make_episode(7, 2, side=16, spaces=spaces)])
    ]
    wrong = replace(spaces, action=run_spaces({"joint_names": 6, "gripper_joints": None, "gripper_max": 0.08},
                                              load_task("pick_place")).action)  # fmt: skip
    messages.append(message(9, make_episode(8, 9, side=16, actions=np.zeros((9, 4)), spaces=wrong)))
    episodes, report = build(write_bag(tmp_path / "bag", messages))
    assert [(e.index, e.steps, e.success) for e in episodes] == [(0, 8, False), (1, 9, True)]
    np.testing.assert_array_equal(episodes[1].actions, shown[1].actions)
    assert episodes[1].jpegs == shown[1].jpegs
    assert [one.reason for one in report.skipped] == [Reason.SPACES, Reason.SHORT, Reason.SPACES]


# -- the command


def test_the_command_writes_a_dataset(tmp_path, capsys):
    path, out = bag(tmp_path, Session()), tmp_path / "out"
    robot = tmp_path / "mine.yaml"
    robot.write_text(dump_yaml(ROBOT.model_dump(mode="json")))
    line = ["dataset", "build", str(path), "--robot", str(robot), "--task", "drawer_open", "--success", "yes"]
    assert main([*line, "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["episodes"], told["steps"], told["skipped"]) == (1, 59, 0)
    assert survey(out).task == "drawer_open" and load_robot(out / "robot.yaml") == load_robot(robot)
    assert DatasetSource(str(out), False).poll().episode.success is True
    assert json.loads((out / "build.json").read_text())["recordings"][0]["cameras"] == {"camera": CAMERA}
    assert main([*line, "--out", str(out)]) == 2  # not empty
    assert main([*line, "--out", str(tmp_path / "none"), "--min-steps", "1000"]) == 2
    assert not (tmp_path / "none").exists() and OBJECT


def _urdf():
    from erl_vlm_ros.sim.backend import make_backend

    arm = make_backend("", TASK, (32, 32), "")
    try:
        return arm.urdf(ROBOT.base_frame, ROBOT.tool_frame)
    finally:
        arm.close()


# -- the gripper


def test_a_grippers_command_is_an_opening_or_what_its_driver_takes(tmp_path):
    gripper = ROBOT.gripper.model_copy(update={"scale": -10.0, "offset": 0.8})
    robot, task = ROBOT.model_copy(update={"gripper": gripper}), replace(TASK, gripper="continuous")
    kind, ours, its = "std_msgs/msg/Float64MultiArray", "/policy/gripper", "/gripper_controller/commands"
    for topic, value in ((ours, 0.06), (its, 0.2)):  # 0.8 - 10 x 0.06
        more = [Message(topic, 2.05, sb.width(value), kind)]
        (episode,), _ = build(bag(tmp_path, Session(), *more, name=topic[1:4]), robot=robot, task=task)
        grip = episode.actions[:, episode.spaces.action.slice(GRIPPER)][:, 0]
        np.testing.assert_allclose(grip[:20], 2 * 0.02 / 0.08 - 1, atol=1e-6)  # as measured: nothing was commanded yet
        np.testing.assert_allclose(grip[20:], 2 * 0.06 / 0.08 - 1, atol=1e-6)
    binary = replace(TASK, gripper="binary")
    grip = build(tmp_path / ours[1:4], robot=robot, task=binary)[0][0].actions[:, -1]
    assert (grip[:20] == -1).all() and (grip[20:] == 1).all()


def test_joints_in_any_order(tmp_path):
    session = Session(topics=(CAMERA, POSE, COMMAND))
    more = []
    for k in range(600):
        names = [*ROBOT.joints, *ROBOT.gripper.joints]
        values = [np.sin(k / 100 + i) for i in range(6)] + [0.01, 0.01]
        order = np.random.default_rng(k).permutation(8)
        state = sb.joint_state([names[i] for i in order], [values[i] for i in order], k / 100)
        more.append(Message(JOINTS, k / 100 + 0.001, state))
    (episode,), _ = build(bag(tmp_path, session, *more))
    t = (episode.stamps - sb.BEGAN_NS) / 1e9
    np.testing.assert_allclose(episode.part(JOINT_PART), np.sin(t[:, None] + np.arange(6)), atol=0.006)
