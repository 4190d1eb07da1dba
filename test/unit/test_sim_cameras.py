# SPDX-License-Identifier: Apache-2.0
"""Named cameras of a simulated scene: the scene's own, the one on the wrist, others of the MJCF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mjcf_arm import write_arm

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.common.yaml_file import read_yaml
from erl_vlm_ros.data.images import jpeg_size
from erl_vlm_ros.data.views import view
from erl_vlm_ros.graphs.build import train_sim
from erl_vlm_ros.graphs.companions import companions
from erl_vlm_ros.graphs.spec import RunArguments
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.backend import backend_spaces, make_backend
from erl_vlm_ros.sim.cameras import sim_cameras
from erl_vlm_ros.sim.demonstrations import rough_demonstrations

TASK = load_task("drawer_open")


def arm(names=("scene", "wrist"), views=None, sizes=None, robot: str = "") -> SimArm:
    return make_backend("", TASK, (64, 48), robot, sim_cameras(names, views, sizes, (64, 48)))


def drive(some: SimArm, steps: int = 3) -> None:
    for _ in range(steps):
        some.apply(np.array([0.1, 0.05, -0.1]), 0.0)


def test_the_scenes_own_is_as_without_names():
    one, two = make_backend("", TASK, (64, 48)), arm()
    for some in (one, two):
        some.reset(3)
        drive(some)
    seen = two.render_all()
    assert list(seen) == ["scene", "wrist"]
    assert np.array_equal(seen["scene"], one.render()) and np.array_equal(two.render(), one.render())
    assert np.array_equal(one.joint_positions, two.joint_positions)
    one.close(), two.close()


def gripper_share(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Share of green pixels, and where they are in the mean, 0..1."""
    green = (image[..., 1] > 100) & (image[..., 0] < 60) & (image[..., 2] < 90)
    return float(green.mean()), np.argwhere(green).mean(0) / image.shape[:2]


@pytest.mark.parametrize("attached", [False, True])
def test_the_wrists_moves_with_the_gripper(tmp_path, attached):
    some = arm(robot=str(write_arm(tmp_path)) if attached else "")
    some.reset(0)
    before = some.render_all()
    drive(some)
    after = some.render_all()
    assert not np.array_equal(before["wrist"], after["wrist"])
    (share, place), (later, there) = gripper_share(before["wrist"]), gripper_share(after["wrist"])
    assert share > 0.005 and abs(share - later) < 0.01  # it sees the fingers, always at the same place
    assert np.abs(place - there).max() < 0.05
    assert np.abs(gripper_share(before["scene"])[1] - gripper_share(after["scene"])[1]).max() > 0.05
    some.close()


def test_views_and_sizes():
    some = arm(("hand", "front"), ["wrist", "scene"], [32, 24, 0, 0])
    seen = some.render_all()
    assert seen["hand"].shape == (24, 32, 3) and seen["front"].shape == (48, 64, 3)
    matrix = some.matrix_of(some.cameras[1])
    assert np.array_equal(matrix, some.camera_matrix())
    assert backend_spaces(some, TASK, 48).observation.cameras == ("hand", "front")
    some.close()


@pytest.mark.parametrize(
    ("views", "sizes", "parameter"),
    [
        (["scene", "top"], None, "cameras"),
        (["scene"], None, "sim_bridge.camera_views"),
        (None, [64, 64], "sim_bridge.camera_sizes"),
        (None, [64, 64, 4000, 64], "cameras"),
    ],
)
def test_what_the_scene_lacks_is_refused(views, sizes, parameter):
    with pytest.raises(ConfigError) as error:
        arm(("scene", "wrist"), views, sizes)
    assert error.value.parameter == parameter


def test_a_world_of_one_camera():
    with pytest.raises(ConfigError) as error:
        make_backend("toy_backend:Rail", TASK, (64, 48), "", sim_cameras(["scene"], None, None, (64, 48)))
    assert error.value.parameter == "cameras"


def test_demonstrations_hold_each_cameras_image():
    some = arm(sizes=[64, 64, 96, 48])
    (shown,) = rough_demonstrations(some, TASK, 1, 0, 0.0, image_size=32)
    frame = shown.episode.jpegs[0]
    assert shown.episode.spaces.observation.cameras == ("scene", "wrist")
    assert [jpeg_size(view(frame, name)) for name in ("scene", "wrist")] == [(32, 32)] * 2
    some.close()


def test_rviz_shows_each(tmp_path):
    (tmp_path / "config").mkdir()
    settings = {"learner": {"cameras": ["scene", "wrist"]}}
    graph = train_sim(RunArguments("drawer_open", tmp_path, headless=True, overrides=settings))
    (tmp_path / "config" / "arm.urdf").write_text("<robot/>")
    rviz = next(c for c in companions(graph, tmp_path, rviz=True, record=True) if c.name == "rviz2")
    layout, _ = read_yaml(Path(rviz.arguments[1]))
    shown = [d["Topic"]["Value"] for d in layout["Visualization Manager"]["Displays"] if d["Class"].endswith("/Image")]
    assert shown == ["camera/scene/color/image_raw", "camera/wrist/color/image_raw", "monitor/image"]
    recorder = next(c for c in companions(graph, tmp_path, rviz=False, record=True) if c.name == "recorder")
    assert "/camera/wrist/color/image_raw/compressed" in recorder.command
    assert not any("camera/camera" in word for word in recorder.command)
