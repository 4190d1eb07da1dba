# SPDX-License-Identifier: Apache-2.0
"""What the stand-in knows about the set-up beforehand is what the simulated set-up is."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import erl_vlm_ros.sim  # noqa: F401  (chooses the OpenGL back end before mujoco is imported)

pytest.importorskip("mujoco")

from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.tasks import make_task
from erl_vlm_ros.standin import words as words
from erl_vlm_ros.standin.calibrate import measure
from erl_vlm_ros.standin.vision import view

TASKS = ("drawer_open", "sweep_into", "pick_place")


def test_calibration_is_up_to_date():
    written = json.loads(resource("config/standin_scene.json").read_text(encoding="utf-8"))
    assert written == measure(), "scenes or tasks changed: run python -m erl_vlm_ros.standin.calibrate"


@pytest.mark.parametrize("name", TASKS)
def test_view_is_the_simulated_camera(name):
    arm = SimArm(name)
    eye, pose, matrix = view(name, 128, 128), arm.camera_pose(), arm.camera_matrix()
    np.testing.assert_allclose(eye.rotation, pose[:3, :3].T, atol=1e-4)
    np.testing.assert_allclose(eye.position, pose[:3, 3], atol=1e-4)
    expected = [[eye.focal, 0, eye.centre[0]], [0, eye.focal, eye.centre[1]], [0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-4)
    arm.close()


@pytest.mark.parametrize("name", TASKS)
def test_gripper_and_arm_where_they_are_drawn(name):
    """Wrist and elbow of the simulated arm lie inside what the stand-in draws for the true tool position."""
    from erl_vlm_ros.standin.gripper import arm_solids

    arm = SimArm(name)
    arm.reset(3)
    solids = arm_solids(arm.ee_position, 0.0, arm.gripper_width, view(name, 128, 128).rotation[:2])
    data = arm.data
    for body, points in (
        ("link3", solids[2][0]),
        ("link5", solids[4][0]),
    ):  # far ends of upper arm and forearm
        np.testing.assert_allclose(points[12:].mean(axis=0), data.body(body).xpos, atol=5e-3)
    for geom, points in (
        ("finger_left", solids[8][0]),
        ("finger_right", solids[7][0]),
        ("palm", solids[9][0]),
    ):
        np.testing.assert_allclose(points.mean(axis=0), data.geom(geom).xpos, atol=3e-3)
    arm.close()


@pytest.mark.parametrize("name", TASKS)
def test_classes_merge_as_in_the_simulated_tasks(name):
    assert make_task(name).merge == words.MERGE


def test_the_server_does_not_load_the_simulator():
    """What could tell the stand-in the truth is not even imported in its process."""
    code = (
        "import sys, erl_vlm_ros.standin.vlm; "
        "names = ('arm', 'tasks', 'env', 'state', 'oracle'); "
        "print([m for m in sys.modules if m.split('.')[0] == 'mujoco' "
        "or m in ['erl_vlm_ros.sim.' + n for n in names]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
