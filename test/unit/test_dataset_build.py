# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm dataset build`: what comes out of a recording, and every reason for which one is not taken."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra bag")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import synthetic_bag as sb  # noqa: E402
from factories import make_episode  # noqa: E402
from synthetic_bag import CAMERA, COMMAND, JOINTS, OBJECT, POSE, Message, write_bag  # noqa: E402

from erl_vlm_ros.cli import main  # noqa: E402
from erl_vlm_ros.common.cameras import CameraSpec  # noqa: E402
from erl_vlm_ros.common.errors import ConfigError  # noqa: E402
from erl_vlm_ros.common.tasks import load_task  # noqa: E402
from erl_vlm_ros.common.yaml_file import dump_yaml  # noqa: E402
from erl_vlm_ros.data.bundle import encode  # noqa: E402
from erl_vlm_ros.data.dataset import DatasetSource, survey  # noqa: E402
from erl_vlm_ros.data.images import decode_jpeg  # noqa: E402
from erl_vlm_ros.data.spaces import GRIPPER, run_spaces  # noqa: E402
from erl_vlm_ros.data.spaces import JOINTS as JOINT_PART
from erl_vlm_ros.data.views import cameras_of, view  # noqa: E402
from erl_vlm_ros.recordings.bag import find_bags  # noqa: E402
from erl_vlm_ros.recordings.build import Builder  # noqa: E402
from erl_vlm_ros.recordings.options import BuildOptions  # noqa: E402
from erl_vlm_ros.recordings.problems import Reason, RecordingError  # noqa: E402
from erl_vlm_ros.robot.spec import load_robot  # noqa: E402
from erl_vlm_ros.runs.dataset_build import by_hand  # noqa: E402

Session = partial(sb.Session, joint_hz=50.0)  # half as many messages to write and read again
ROBOT, TASK = load_robot("sim_arm"), load_task("drawer_open")  # 10 Hz, 0.5 m/s
OTHER_FINGERS = ROBOT.model_copy(update={"joint_states": ("joint_states", "gripper/joint_states")})


def build(path, hand=None, **changes):
    """(episodes, report) of a bag, or of several."""
    options = BuildOptions(**({"robot": ROBOT, "task": TASK, "image_size": 48} | changes))
    builder = Builder(options, hand)
    return list(builder.episodes(find_bags(path if isinstance(path, list) else [path]))), builder.report


def why(path, **changes):
    """The reasons for which all of it was left out, without repetition."""
    episodes, report = build(path, **changes)
    assert not episodes
    return {(one.reason, one.topic) for one in report.skipped}


def bag(tmp_path, session, *more, name="bag", drop=lambda m: False, **kind):
    messages = [m for m in session.messages() if not drop(m)]
    return write_bag(tmp_path / name, sorted([*messages, *more], key=lambda m: m.at_s), **kind)


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


# -- what is refused


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


def test_several_cameras(tmp_path):
    kind = "sensor_msgs/msg/CompressedImage"
    session = Session()
    seen = [m for m in session.messages() if m.topic == CAMERA]
    more = [Message(t, m.at_s, m.content, kind) for m in seen for t in ("/left/compressed", "/right/compressed")]
    path = bag(tmp_path, Session(topics=(JOINTS, POSE, COMMAND)), *more)
    assert why(path) == {(Reason.SEVERAL_TOPICS, "")}
    assert len(build(path, cameras=(("", "/right/compressed"),))[0]) == 1
    assert why(path, cameras=(("", JOINTS),)) == {(Reason.TYPE, JOINTS)}
    assert {reason for reason, _ in why(path, cameras=(("", "/front"),))} == {Reason.NO_TOPIC}


KIND = "sensor_msgs/msg/CompressedImage"


def cameras(tmp_path, *names, hz=20.0, size=(64, 48), lag=0.02, seconds=6.0, name="named"):
    """A bag with further cameras beside the one of a Session; topics are those of named ones."""
    session = Session(seconds=seconds, topics=(JOINTS, POSE, COMMAND), size=size)
    more = []
    for camera in names:
        topic = camera if camera.startswith("/") else f"/camera/{camera}/color/image_raw/compressed"
        for k in range(int(seconds * hz)):
            picture = sb.cv2.imencode(".png", session.image(k))[1].tobytes()
            more.append(Message(topic, k / hz + 0.03, sb.image(picture, k / hz + lag * (camera != names[0])), KIND))
    return bag(tmp_path, session, *more, name=name)


def views_of(**more):
    return {"task": replace(TASK, cameras=tuple(CameraSpec(name=name, **more) for name in ("front", "wrist")))}


def test_named_cameras_are_frames_of_one_moment(tmp_path):
    path = cameras(tmp_path, "front", "wrist")
    (episode,), report = build(path, **views_of())
    assert cameras_of(episode.jpegs) == episode.spaces.observation.cameras == ("front", "wrist")
    first, second = (decode_jpeg(view(episode.jpegs[7], name)).astype(int) for name in ("front", "wrist"))
    np.testing.assert_array_equal(first, second)  # both made number 14 at that moment
    wrist = "/camera/wrist/color/image_raw/compressed"
    assert report.alignment_ms()[wrist]["largest"] == pytest.approx(20, abs=0.1)
    assert report.recordings[0]["cameras"]["wrist"] == wrist
    named = (("side", "/camera/wrist/color/image_raw/compressed"), ("top", "/camera/front/color/image_raw/compressed"))
    assert cameras_of(build(path, cameras=named)[0][0].jpegs) == ("side", "top")
    assert {reason for reason, _ in why(cameras(tmp_path, "front", name="one"), **views_of())} == {Reason.NO_TOPIC}
    assert why(path, **views_of(), tolerance_s=0.01) == {(Reason.GAP, wrist)}


def test_a_drivers_topic_of_a_named_camera_is_cropped_as_its_node_would(tmp_path):
    path = cameras(tmp_path, "/usb_cam/image_raw/compressed")
    spec = CameraSpec(name="usb", source="topic:/usb_cam/image_raw", crop=(0, 0, 32, 24))
    robot = ROBOT.model_copy(update={"cameras": (spec,)})
    (episode,), _ = build(path, robot=robot, image_size=24)
    image = Session(size=(64, 48)).image(2)[:24, 4:28, ::-1]  # the middle square of the crop
    np.testing.assert_allclose(decode_jpeg(episode.jpegs[1]).astype(int).mean((0, 1)), image.mean((0, 1)), atol=3)
    wide = robot.model_copy(update={"cameras": (spec.model_copy(update={"crop": (40, 0, 32, 24)}),)})
    assert {reason for reason, _ in why(path, robot=wide)} == {Reason.IMAGE}


def test_cameras_are_named_as_they_should(tmp_path):
    for wrong in ((("", "/a"), ("b", "/b")), (("a", "/a"), ("a", "/b"))):
        with pytest.raises(ConfigError):
            BuildOptions(ROBOT, TASK, cameras=wrong)
    with pytest.raises(ConfigError):
        BuildOptions(ROBOT, views_of()["task"], cameras=(("", "/a"),))
    line = ["dataset", "build", str(tmp_path), "--robot", "sim_arm", "--task", "drawer_open", "--out", "x"]
    assert main([*line, "--camera", "A B=/x"]) == 2


def test_a_camera_that_starts_late_or_stops_early(tmp_path):
    path = bag(tmp_path, Session(), name="half", drop=lambda m: m.topic == CAMERA and m.at_s < 0.5)
    (episode,), report = build(path)
    assert 0.45 < report.episodes[0]["cut_s"][0] < 0.55 and episode.steps == 54
    assert why(path, late_s=0.1) == {(Reason.LATE, CAMERA)}
    late = bag(tmp_path, Session(), name="late", drop=lambda m: m.topic == CAMERA and m.at_s < 3)
    assert why(late) == {(Reason.LATE, CAMERA)}
    early = bag(tmp_path, Session(), name="early", drop=lambda m: m.topic == CAMERA and m.at_s > 3)
    assert why(early) == {(Reason.EARLY, CAMERA)}


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
