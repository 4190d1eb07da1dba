# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm dataset build` with several cameras."""

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
from synthetic_bag import CAMERA, COMMAND, JOINTS, POSE, Message  # noqa: E402

from erl_vlm_ros.cli import main  # noqa: E402
from erl_vlm_ros.common.cameras import CameraSpec  # noqa: E402
from erl_vlm_ros.common.errors import ConfigError  # noqa: E402
from erl_vlm_ros.data.images import decode_jpeg  # noqa: E402
from erl_vlm_ros.data.views import cameras_of, view  # noqa: E402
from erl_vlm_ros.recordings.options import BuildOptions  # noqa: E402
from erl_vlm_ros.recordings.problems import Reason  # noqa: E402


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
