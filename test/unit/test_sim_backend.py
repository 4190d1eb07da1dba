# SPDX-License-Identifier: Apache-2.0
"""The SimBackend seam: what our arm offers, and a world from outside the package."""

from __future__ import annotations

import numpy as np
import pytest
from toy_backend import RAIL, Rail

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import ArmCommand
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.backend import BACKENDS, SimBackend, make_backend
from erl_vlm_ros.sim.bridge import BridgeCore


def members():
    return [name for name in (*vars(SimBackend), *SimBackend.__annotations__) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [SimArm, Rail])
def test_a_backend_has_every_member(kind):
    arm = kind(load_task("drawer_open"), (64, 64))
    assert [name for name in members() if not hasattr(arm, name)] == []
    state = arm.observe()
    assert state.joints.shape == state.joint_velocities.shape == state.joint_efforts.shape == (len(arm.joint_names),)
    assert state.fingers.shape == state.finger_velocities.shape == (len(arm.finger_names),)
    assert np.array_equal(state.joints, arm.joint_positions)
    assert arm.render().shape == (64, 64, 3) and arm.camera_matrix().shape == (3, 3)
    assert set(arm.truth()) == {"progress", "success", "class_2", "class_3", "class_4", "class_5"}
    arm.close()


def test_the_task_that_was_given_counts_not_the_shipped_one_of_its_name(tmp_path):
    path = tmp_path / "drawer_open.yaml"
    path.write_text(resource("config/tasks/drawer_open.yaml").read_text())
    task = load_task(str(path))
    assert SimArm(task).config is task and str(path) in task.path


def test_a_backend_is_found_by_name_or_by_place():
    assert BACKENDS.load("mujoco_arm") is SimArm and BACKENDS.load("toy_backend:Rail") is Rail
    for wrong in ("metawurld", "toy_backend:Rial", "no_such_module_here:Rail"):
        with pytest.raises(ConfigError):
            BACKENDS.load(wrong)


def test_a_world_from_outside_runs_behind_the_bridge():
    core = BridgeCore(make_backend("toy_backend:Rail", load_task("drawer_open"), (32, 32)), seed=3)
    before = core.arm.observe().joints[0]
    core.reset(episode_index=0)
    assert core.arm.observe().joints[0] == before  # episode 0 is a function of the seed
    for _ in range(20):
        core.step(ArmCommand((0.2, 0.0, 0.0)))
    assert core.arm.truth()["success"] == 1.0 and core.arm.observe().joints[0] == RAIL
    assert core.arm.render()[:, -1].all()
