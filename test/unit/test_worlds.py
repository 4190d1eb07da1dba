# SPDX-License-Identifier: Apache-2.0
"""Tasks of another world by name, and what a graph makes of them; MetaWorld itself is not needed."""

from __future__ import annotations

import dataclasses

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task, task_names, task_text
from erl_vlm_ros.common.worlds import scene_names, scene_of, world_of
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.sim.metaworld import action_repeat
from erl_vlm_ros.sim.metaworld_scenes import PLACEMENTS, classes_of, progress_of
from erl_vlm_ros.training.configs import node_values

PAPERS = {"drawer-open-v3": 3, "sweep-into-v3": 2, "soccer-v3": 2}  # scene -> classes of the ERL-VLM paper


@pytest.mark.parametrize("scene", scene_names("metaworld"))
def test_every_scene_is_a_task(scene):
    task = load_task(f"metaworld/{scene}")
    assert (task.name, task.world) == (f"metaworld/{scene}", "metaworld") and set(task.classes) == {2, 3, 4, 5}
    assert "SENTENCE" not in task.instruction and action_repeat(task) == 4
    for node in ("learner", "policy_controller", "reward_trainer"):
        node_values(node, task)


@pytest.mark.parametrize("scene", PAPERS)
def test_the_papers_tasks_have_the_papers_classes_and_placements(scene):
    task = load_task(f"metaworld/{scene}-paper")
    assert task.n_classes == PAPERS[scene] and scene_of(task.name) == (scene, True) and scene in PLACEMENTS
    assert all(low <= start <= high for low, start, high in zip(
        task.workspace_min, PLACEMENTS[scene].hand, task.workspace_max
    ))  # fmt: skip
    assert dataclasses.replace(task, name=load_task(f"metaworld/{scene}").name) == load_task(f"metaworld/{scene}")


def test_a_copy_of_the_text_is_the_task(tmp_path):
    for name in ("metaworld/hammer-v3", "metaworld/soccer-v3-paper", "drawer_open"):
        path = tmp_path / "task.yaml"
        path.write_text(task_text(name))
        assert dataclasses.replace(load_task(path), path="") == dataclasses.replace(load_task(name), path="")


def test_an_unknown_scene_is_refused_with_the_near_one():
    with refused(ConfigError, code=Code.UNKNOWN, parameter="task", shows="drawer-open-v3"):
        load_task("metaworld/drawer-opn-v3")
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="metaworld/SCENE"):
        load_task("moonworld/drawer-open-v3")
    assert not any(world_of(name) for name in task_names())


@pytest.mark.parametrize(("hz", "repeat"), [(80, 1), (40, 2), (20, 4), (80 / 3, 3), (4, 20)])
def test_the_control_rate_is_the_action_repeat(hz, repeat):
    assert action_repeat(dataclasses.replace(load_task("metaworld/soccer-v3"), control_hz=hz)) == repeat


@pytest.mark.parametrize("hz", [10.1, 30, 160, 2])
def test_another_control_rate_is_refused(hz):
    with refused(ConfigError, parameter="control_hz", file=load_task("metaworld/soccer-v3").path):
        action_repeat(dataclasses.replace(load_task("metaworld/soccer-v3"), control_hz=hz))


def test_classes_are_shares_of_the_way_and_success():
    rows = [[int(classes_of(p, False)[f"class_{n}"]) for n in (2, 3, 4, 5)] for p in (0.05, 0.2, 0.4, 0.6, 0.9)]
    assert rows == [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2], [0, 1, 2, 2], [0, 1, 2, 3]]
    assert [int(classes_of(0.3, True)[f"class_{n}"]) for n in (2, 3, 4, 5)] == [1, 2, 3, 4]


def test_progress_is_the_share_of_the_way():
    assert [progress_of(d, 0.2, False) for d in (0.2, 0.15, 0.3)] == pytest.approx([0.0, 0.25, 0.0])
    assert progress_of(0.0, 0.2, False) < 1.0 == progress_of(0.02, 0.2, True)


def _graph(build, tmp_path, task="metaworld/drawer-open-v3", overrides=None, **real):
    return build(RunArguments(task, tmp_path, headless=True, overrides=overrides or {}, real=RealOptions(**real)))


def test_the_graph_takes_world_and_arm_from_the_task(tmp_path):
    scripted = {"vlm_rater": {"teacher": "scripted"}}
    (tmp_path / "task.yaml").write_text(task_text("metaworld/drawer-open-v3-paper"))
    found = _graph(train_sim, tmp_path, str(tmp_path / "task.yaml"), scripted)  # as a run's copy of the task
    bridge, controller = found.node("sim_bridge").parameters, found.node("policy_controller").parameters
    assert bridge["backend"] == "metaworld" and len(controller["joint_names"]) == 7
    assert controller["base_frame"] == "world" and controller["gripper_joints"] == ["r_close", "l_close"]
    ours = _graph(train_sim, tmp_path, "drawer_open", scripted)
    assert ours.node("sim_bridge").parameters["backend"] == "mujoco_arm"
    other = _graph(train_sim, tmp_path, overrides=scripted | {"sim_bridge": {"backend": "toy_backend:Rail"}})
    assert other.node("sim_bridge").parameters["backend"] == "toy_backend:Rail"


def test_who_cannot_rate_or_play_it_is_refused(tmp_path):
    with pytest.raises(ConfigError) as found:
        _graph(train_sim, tmp_path)
    assert found.value.parameter == "vlm_rater.teacher"
    with refused(ConfigError, parameter="task", code=Code.DOES_NOT_FIT, shows="train_sim"):
        _graph(train_real, tmp_path, use_sim_arm=True)
