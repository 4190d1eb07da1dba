# SPDX-License-Identifier: Apache-2.0
"""Gathering demonstrations: what is kept, a dataset that grows, the graph, the expert in the policy's place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from factories import make_episode
from refusals import refused

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.actor_source import read_published
from erl_vlm_ros.control.drivers import DemonstratorConfig, StillPolicy
from erl_vlm_ros.data.dataset import INFO, DatasetSource, robot_file, survey
from erl_vlm_ros.data.growing_dataset import GrowingDataset
from erl_vlm_ros.data.sources import EVERY, SUCCESSFUL
from erl_vlm_ros.data.spaces import run_spaces, spaces_of
from erl_vlm_ros.graphs.build import collect, train_sim
from erl_vlm_ros.graphs.spec import DataOptions, RealOptions, RunArguments
from erl_vlm_ros.params.layers import parse_overrides
from erl_vlm_ros.recordings.collection import Collection, Verdict
from erl_vlm_ros.robot.spec import load_robot, robot_path

TASK = load_task("drawer_open")
ARM = load_robot("sim_arm").overrides()["/**"]
SPACES, BLIND = run_spaces(ARM, TASK), run_spaces(ARM | {"observe": "images"}, TASK)


def episode(index, steps=8, **more):
    return make_episode(index, steps, side=16, spaces=SPACES, **more)


def gathering(folder, wanted=3, keep=EVERY, counters=None):
    dataset = GrowingDataset(folder, "drawer_open", "test", robot_path("sim_arm"))
    return Collection(dataset, wanted, keep, 5, counters)


def test_what_is_gathered_is_a_dataset_after_each_episode(tmp_path):
    folder, found = tmp_path / "d", gathering(tmp_path / "d")
    assert not folder.exists()
    for index in range(2):
        assert found.add(episode(index, success=index == 1)) is Verdict.KEPT
        assert (survey(folder).episodes, survey(folder).task) == (index + 1, "drawer_open")
    assert robot_file(folder) and not found.done and (found.kept, found.successes) == (2, 1)
    source = DatasetSource(str(folder), False)
    assert [source.poll().episode.success for _ in range(2)] == [False, True]


def test_what_is_left_out_is_driven_again(tmp_path):
    found = gathering(tmp_path / "d", wanted=1, keep=SUCCESSFUL)
    for index, (more, verdict) in enumerate([
        ({"success": False}, Verdict.FAILED), ({"success": None}, Verdict.FAILED),
        ({"steps": 4, "success": True}, Verdict.SHORT), ({"success": True}, Verdict.KEPT),
        ({"success": True}, Verdict.ENOUGH),
    ]):  # fmt: skip
        status, _, _ = read_published(found.actor_bundle(), SPACES)
        assert status.episode_budget == index + (index < 4) and status.explore and not status.has_weights
        assert found.add(episode(index, **more)) is verdict
        assert found.add(episode(index, **more)) is Verdict.KNOWN
    assert found.done and (found.kept, found.episodes, found.env_steps) == (1, 5, 36)
    assert found.metrics()["left_out"] == 4


def test_gathering_goes_on_where_it_was(tmp_path):
    counters = tmp_path / "checkpoint" / "collector.json"
    gathering(tmp_path / "d", counters=counters).add(episode(0, success=True))
    again = gathering(tmp_path / "d", counters=counters)
    assert (again.kept, again.episodes, again.env_steps, again.successes) == (1, 1, 8, 1)
    assert again.add(episode(0)) is Verdict.KNOWN and again.add(episode(1)) is Verdict.KEPT
    with refused(ConfigError, code=Code.DOES_NOT_FIT, file=str(tmp_path / "d")):
        again.add(episode(2).seen_as(BLIND))
    counters.write_text(json.dumps({"episodes": 1}))
    with refused(ConfigError, code=Code.UNREADABLE, file=str(counters)):
        gathering(tmp_path / "d", counters=counters)


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    folder = tmp_path / "d"
    gathering(folder).add(episode(0))
    with refused(ConfigError, code=Code.DOES_NOT_FIT, parameter="task"):
        GrowingDataset(folder, "sweep_into", "test")
    (folder / INFO).unlink()  # cut off before the first episode was complete
    assert gathering(folder).kept == 0
    (folder / "thesis.tex").write_text("x")
    with refused(ConfigError, code=Code.EXISTS, parameter="dataset"):
        gathering(folder)


# -- the graph


@pytest.fixture
def described(tmp_path):
    def make(*settings, task="drawer_open", real=None, **data):
        overrides = parse_overrides(list(settings))
        arguments = RunArguments(task, tmp_path, seed=4, headless=True, overrides=overrides)
        from dataclasses import replace

        return collect(replace(arguments, data=DataOptions(**data), real=real or RealOptions()))

    return make


def test_the_expert_drives_the_simulated_arm_in_lock_step(described, tmp_path):
    graph = described(episodes=7, noise=0.3, keep="successful")
    assert {spec.name for spec in graph.nodes} == {
        "sim_bridge", "safety_guard", "policy_controller", "collector", "monitor",
    }  # fmt: skip
    controller, collector = graph.node("policy_controller").parameters, graph.node("collector").parameters
    assert (controller["driver"], controller["demonstrator.noise"], controller["lock_step"]) == ("scripted", 0.3, True)
    assert controller["success_source"] == "topic" and controller["observe"] == "state"
    assert (collector["episodes"], collector["keep"], collector["task_name"]) == (7, "successful", "drawer_open")
    assert collector["dataset"] == str(tmp_path / "dataset") and collector["robot_file"]
    monitor = graph.node("monitor").parameters
    assert (monitor["finished_by"], monitor["max_episodes"]) == ("collector", 7)
    assert graph.plan.max_episodes == 7 and graph.plan.max_steps is None
    assert described("policy_controller.demonstrator.speed=[0.35, 0.7]").node("policy_controller").parameters[
        "demonstrator.speed"
    ] == [0.35, 0.7]


@pytest.mark.parametrize("driver", ["", "joy", "twist"])
def test_a_person_drives_an_arm_in_real_time(described, driver):
    graph = described(driver=driver, real=RealOptions(camera="opencv"))
    controller = graph.node("policy_controller").parameters
    assert (controller["driver"], controller["human.input"]) == ("person", driver or "joy")
    assert not controller["lock_step"] and controller["success_source"] == "person" and controller["end_on_label"]
    assert graph.find("sim_bridge") is None and graph.node("collector").respawn
    assert graph.node("collector").parameters["robot_file"] == ""
    simulated = described(driver=driver or "joy", real=RealOptions(use_sim_arm=True, auto_arm=True))
    controller = simulated.node("policy_controller").parameters
    assert controller["success_source"] == "topic" and controller["observe"] == "state" and controller["auto_arm"]
    assert simulated.node("policy_controller").parameters["human.input"] == (driver or "joy")


def test_a_task_of_ones_own_is_named_by_its_file(described, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(Path(TASK.path).read_text() + "\nepisode_steps: 20\n")
    assert described(task=str(own)).node("collector").parameters["task_name"] == str(own)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        (("--driver", "ghost"), "driver"),
        (("--driver", "scripted", "--camera", "opencv"), "driver"),
        (("--driver", "joy", "--use-sim-arm", "--noise", "0.2"), "noise"),
        (("--noise", "1.5"), "noise"),
        (("--episodes", "0"), "episodes"),
        (("--keep", "some"), "keep"),
        (("--max-steps", "9"), "max_steps"),
        (("--demos", "scripted:2"), "demos"),
        (("--dataset", "d"), "dataset"),
        (("--keep", "successful", "--set", "policy_controller.success_source=none"), "success_source"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, parameter, tmp_path, capsys):
    assert main(["run", "collect", "--headless", "--out", str(tmp_path / "run"), *options]) == 2
    assert parameter.replace("_", "-") in capsys.readouterr().err.replace("_", "-")


def test_other_graphs_know_none_of_the_options(tmp_path, capsys):
    assert main(["run", "train_sim", "--out", str(tmp_path / "run"), "--driver", "joy"]) == 2
    assert "--driver" in capsys.readouterr().err


def test_a_training_run_begins_with_what_was_gathered(tmp_path):
    found = gathering(tmp_path / "d")
    found.add(episode(0))
    arguments = RunArguments("drawer_open", tmp_path, headless=True, data=DataOptions(demos=str(tmp_path / "d")))
    assert train_sim(arguments).node("learner").parameters["episode_source_path"] == str(tmp_path / "d")


# -- who drives


def test_at_rest_a_person_moves_nothing_and_the_gripper_stays():
    spec = spaces_of(load_task("pick_place"), 6).action
    action = StillPolicy(spec, lambda: -0.5).act(np.zeros(19), None)
    assert action.tolist() == [0.0, 0.0, 0.0, -0.5]


@pytest.mark.parametrize("task", ["drawer_open", "sweep_into", "pick_place"])
def test_the_expert_solves_the_task_from_what_is_observed(task):
    pytest.importorskip("mujoco")
    from erl_vlm_ros.sim.arm import SimArm
    from erl_vlm_ros.sim.backend import backend_spaces
    from erl_vlm_ros.sim.rollout import roll_out
    from erl_vlm_ros.sim.scripted_policy import ScriptedPolicy

    known, arm = load_task(task), SimArm(task)
    spaces = backend_spaces(arm, known)
    expert = ScriptedPolicy(DemonstratorConfig(noise=0.0), known, spaces, 3)
    for seed in (500, 501):
        expert.begin_episode(explore=True, evaluation=False)
        done = roll_out(
            arm, spaces, known.episode_steps, known.control_hz, lambda seen, _: expert.act(seen, None), seed=seed,
            images=False, evaluation=False, index=0, actor_version=0,
        )  # fmt: skip
        assert done.success[-1]


def test_a_slow_expert_moves_and_rests_as_it_is_told():
    pytest.importorskip("mujoco")
    from erl_vlm_ros.sim.scripted_policy import ScriptedPolicy

    seen = np.zeros(SPACES.observation.size, np.float32)
    seen[:] = 0.5

    def actions(**more):
        expert = ScriptedPolicy(DemonstratorConfig(noise=0.0, **more), TASK, SPACES, 3)
        return np.stack([expert.act(seen, None) for _ in range(200)])

    full, slow, resting = actions(), actions(speed=(0.5, 0.5)), actions(pauses=0.1)
    np.testing.assert_allclose(slow, 0.5 * full, atol=1e-6)
    still = ~resting[:, :3].any(axis=1)
    assert 20 < still.sum() < 180 and full[:, :3].any(axis=1).all()
    with refused(ConfigError, parameter="demonstrator.speed"):
        DemonstratorConfig(speed=(0.7, 0.3))


def test_an_expert_that_sees_no_object_is_refused():
    from erl_vlm_ros.sim.scripted_policy import ScriptedPolicy

    with refused(ConfigError, parameter="policy_controller.driver", code=Code.DOES_NOT_FIT):
        ScriptedPolicy(DemonstratorConfig(), TASK, BLIND, 0)
