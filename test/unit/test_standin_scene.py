# SPDX-License-Identifier: Apache-2.0
"""What the stand-in knows about the set-up, written down by hand, is what the simulated set-up is."""

from __future__ import annotations

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from erl_vlm_ros.paths import resource  # noqa: E402
from erl_vlm_ros.sim import standin_scene as scene  # noqa: E402
from erl_vlm_ros.sim import standin_words as words  # noqa: E402
from erl_vlm_ros.sim.arm import SimArm  # noqa: E402
from erl_vlm_ros.sim.standin_vision import view  # noqa: E402
from erl_vlm_ros.sim.tasks import make_task  # noqa: E402
from erl_vlm_ros.tasks import load_task  # noqa: E402

TASKS = ("drawer_open", "sweep_into", "pick_place")


@pytest.fixture(scope="module", params=TASKS)
def arm(request):
    arm = SimArm(request.param)
    arm.reset(3)
    yield arm
    arm.close()


def test_camera(arm):
    eye, pose, matrix = view(arm.task.name, 128, 128), arm.camera_pose(), arm.camera_matrix()
    np.testing.assert_allclose(eye.rotation, pose[:3, :3].T, atol=1e-6)
    np.testing.assert_allclose(eye.position, pose[:3, 3], atol=1e-6)
    np.testing.assert_allclose(
        matrix, [[eye.focal, 0, eye.centre[0]], [0, eye.focal, eye.centre[1]], [0, 0, 1]], atol=1e-6
    )


def test_workspace_and_gripper_use(arm):
    task = load_task(arm.task.name)
    assert scene.REACH[task.name] == (task.workspace_min, task.workspace_max, task.use_gripper)


def test_hand(arm):
    """Fingers, palm and wrist relative to the tool point, tool down (the tool's x axis points to the base's -x)."""
    model, data = arm.model, arm.data
    tool = arm.ee_position
    for name, half in (("finger_left", scene.FINGER_HALF), ("palm", scene.PALM_HALF)):
        geom = data.geom(name)
        np.testing.assert_allclose(model.geom(name).size[:2], half, atol=1e-6)
        z = scene.FINGER_Z if name != "palm" else scene.PALM_Z
        height = model.geom(name).size[2]
        np.testing.assert_allclose(
            [geom.xpos[2] - height - tool[2], geom.xpos[2] + height - tool[2]], z, atol=2e-3
        )
    np.testing.assert_allclose(data.body("link5").xpos - tool, [0, 0, scene.ARM.wrist_z], atol=3e-3)
    np.testing.assert_allclose(data.body("link2").xpos, scene.SHOULDER, atol=1e-6)
    elbow = data.body("link3").xpos
    assert np.linalg.norm(elbow - scene.SHOULDER) == pytest.approx(scene.UPPER_ARM)
    assert np.linalg.norm(data.body("link5").xpos - elbow) == pytest.approx(scene.FOREARM)


def _load(name):
    model = mujoco.MjModel.from_xml_path(str(resource(f"sim/{name}.xml")))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def _span(model, data, name):
    """Low and high corner of a box geom whose axes are the base frame's."""
    middle, half = data.geom(name).xpos, model.geom(name).size
    return middle - half, middle + half


def test_drawer():
    model, data = _load("drawer_open")
    x = scene.CABINET_X
    top, front, handle, post = (
        _span(model, data, name) for name in ("cabinet_top", "drawer_front", "handle", "handle_post_l")
    )
    np.testing.assert_allclose([top[0][0], top[1][0], top[1][1], top[1][2]],
                               [x, x + scene.CABINET_DEPTH, scene.CABINET_HALF_WIDTH, scene.CABINET_TOP], atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(
        [front[1][0], front[1][1], front[1][2]], [x, scene.FRONT_HALF_WIDTH, scene.FRONT_TOP], atol=1e-6
    )
    np.testing.assert_allclose(
        (handle[0] + handle[1]) / 2, [x + scene.HANDLE_X, 0, scene.HANDLE_Z], atol=1e-6
    )
    np.testing.assert_allclose(
        (handle[1] - handle[0]) / 2,
        [scene.HANDLE_RADIUS[0], scene.HANDLE_HALF_LENGTH, scene.HANDLE_RADIUS[1]],
        atol=1e-6,
    )
    np.testing.assert_allclose((post[0] + post[1])[1:] / 2, [scene.POST_Y, scene.HANDLE_Z], atol=1e-6)
    task = make_task("drawer_open")
    limits = [words.DRAWER_CRACK, words.DRAWER_HALF, words.DRAWER_DONE, words.HANDLE_NEAR]
    np.testing.assert_allclose(np.array(limits) / 100, [task.crack, task.half, task.done, task.near])
    assert task.handle_half_length == scene.HANDLE_REACH


def test_sweep():
    model = _load("sweep_into")[0]
    np.testing.assert_allclose(model.geom("zone").pos[:2], scene.ZONE, atol=1e-6)
    assert model.geom("zone").size[0] == pytest.approx(scene.ZONE_RADIUS)
    np.testing.assert_allclose(model.geom("block").size, scene.BLOCK_HALF)
    task = make_task("sweep_into")
    limits = [words.ZONE_APPROACHED, words.ZONE_EDGE, words.ZONE_INSIDE, words.BLOCK_NEAR]
    np.testing.assert_allclose(np.array(limits) / 100, [task.approached, task.edge, task.done, task.near])


def test_pick():
    model = _load("pick_place")[0]
    np.testing.assert_allclose(model.geom("plate").pos[:2], scene.PLATE, atol=1e-6)
    np.testing.assert_allclose(
        model.geom("plate").size[:2], [scene.PLATE_RADIUS, scene.PLATE_HEIGHT / 2], atol=1e-6
    )
    np.testing.assert_allclose(model.geom("block").size, scene.SMALL_BLOCK_HALF)
    task = make_task("pick_place")
    assert (task.lifted, task.released, task.near) == (scene.LIFTED, scene.RELEASED, scene.GRASP_REACH)


@pytest.mark.parametrize("name", TASKS)
def test_classes_merge_as_in_the_simulated_tasks(name):
    assert make_task(name).merge == words.MERGE


def test_the_server_does_not_import_the_simulator():
    """What could tell the stand-in the truth is not even loaded in its process."""
    import subprocess
    import sys

    code = (
        "import sys; import erl_vlm_ros.sim.standin_vlm; "
        "bad = [m for m in sys.modules if m.split('.')[0] == 'mujoco' or m in "
        "('erl_vlm_ros.sim.arm', 'erl_vlm_ros.sim.tasks', 'erl_vlm_ros.sim.env', 'erl_vlm_ros.sim.state')]; print(bad)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
