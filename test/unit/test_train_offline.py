# SPDX-License-Identifier: Apache-2.0
"""Offline runs as they are described and prepared: nodes, parameters, files for the evaluation, and what is refused."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from factories import make_episode
from refusals import refused

from erl_vlm_ros.agents.base import AGENTS, NEEDS
from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import RunDirectory
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.dataset import INFO, survey, write_dataset
from erl_vlm_ros.data.sources import SUCCESSFUL, make_source
from erl_vlm_ros.data.spaces import run_spaces, spaces_of
from erl_vlm_ros.graphs.build import train_offline
from erl_vlm_ros.graphs.offline import ROUND_BYTES, offline_values
from erl_vlm_ros.graphs.spec import DataOptions, RunArguments
from erl_vlm_ros.params.layers import read_parameter_file
from erl_vlm_ros.robot.spec import load_robot, robot_path
from erl_vlm_ros.runs import offline, session
from erl_vlm_ros.runs.supervisor import Outcome

TASK = load_task("drawer_open")
SPACES = run_spaces(load_robot("sim_arm").overrides()["/**"], TASK)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three episodes of the simulated arm's spaces, of 20, 21 and 22 steps."""
    folder = tmp_path_factory.mktemp("data") / "d"
    episodes = [make_episode(i, 20 + i, side=16, spaces=SPACES) for i in range(3)]
    write_dataset(folder, "drawer_open", episodes, "test", robot_path("sim_arm"))
    return folder


@pytest.fixture
def described(dataset, tmp_path):
    def make(algorithm, overrides=None, **more):
        data = DataOptions(dataset=str(dataset), algorithm=algorithm, **more)
        arguments = RunArguments("drawer_open", tmp_path, overrides=overrides or {}, data=data, robot="sim_arm")
        return train_offline(arguments)

    return make


@pytest.fixture
def started(monkeypatch):
    """What would have been started."""
    found = []

    def fake(prepared, stream):
        found.append(prepared)
        prepared.graph.write_parameters(prepared.path / "config")
        (prepared.path / "checkpoint" / "learner.safetensors").write_text("")
        return Outcome("interrupted")

    monkeypatch.setattr(session, "run_graph", fake)
    return found


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_what_our_algorithms_need_is_known_without_loading_them(name):
    assert AGENTS.load(name).needs == NEEDS[name]


@pytest.mark.parametrize(
    ("algorithm", "nodes", "feedback", "labels"),
    [
        ("iql", {"learner", "reward_trainer", "vlm_rater", "monitor"}, "rating", 300),
        ("cpl", {"learner", "vlm_rater", "monitor"}, "preference", 1000),
        ("bc", {"learner", "monitor"}, None, 0),
        ("bc_rated", {"learner", "reward_trainer", "vlm_rater", "monitor"}, "rating", 300),
    ],
)
def test_the_graph_has_the_nodes_that_the_algorithm_needs(described, dataset, algorithm, nodes, feedback, labels):
    graph = described(algorithm)
    assert {spec.name for spec in graph.nodes} == nodes
    learner = graph.node("learner").parameters
    assert not learner["live"] and learner["episode_source_path"] == str(dataset)
    assert learner["max_ratings"] == labels
    assert feedback is None or graph.node("vlm_rater").parameters["feedback"] == feedback
    assert graph.plan.finished_by == "learner" and graph.plan.max_updates == learner["offline_updates"] > 0
    assert graph.node("monitor").parameters["max_updates"] == learner["offline_updates"]
    if algorithm in ("iql", "bc_rated"):
        assert graph.node("reward_trainer").parameters["episode_source_path"] == str(dataset)
    if algorithm == "cpl":  # whole episodes, also where one is shorter
        assert learner["segment_length"] == 20 and 1 <= learner["round_ratings"] <= labels


def test_a_round_of_comparisons_fits_into_a_message(dataset, tmp_path):
    """Pairs of 20 frames: 1,000 of them where images are small, fewer where they are large."""
    found, options = survey(dataset), DataOptions(dataset=str(dataset), algorithm="cpl")
    arguments = RunArguments("drawer_open", tmp_path, data=options, robot="sim_arm")

    def asked(frame_bytes):
        learner = offline_values(arguments, NEEDS["cpl"], replace(found, frame_bytes=frame_bytes))["learner"]
        assert learner["first_ratings"] == learner["round_ratings"]
        return learner["round_ratings"]

    assert found.frame_bytes == max(len(jpeg) for i in range(3) for jpeg in make_episode(i, 20 + i, side=16).jpegs)
    assert asked(800) == 1000
    assert 20 * asked(3600) * 2 * 3600 <= ROUND_BYTES < 20 * (asked(3600) + 1) * 2 * 3600
    assert asked(10**9) == 1


def test_from_images_the_encoder_sees_more_and_features_are_noisy(described):
    images = described("iql", {"learner": {"observe": "images"}})
    learner, reward = (images.node(name).parameters for name in ("learner", "reward_trainer"))
    assert learner["feature_noise"] > 0 and learner["iql.best_share"] == 0.7
    for key in ("trunk.image_size", "trunk.channels"):
        assert learner[key] == reward[key] != described("iql").node("learner").parameters[key]
    assert described("bc", {"learner": {"observe": "images"}}).node("learner").parameters["trunk.image_size"] == 72
    compared = described("cpl", {"learner": {"observe": "images"}}).node("learner").parameters
    assert (compared["cpl.least_won"], compared["cpl.dropout"], compared["cpl.clone_weight"]) == (0.4, 0.0, 30.0)
    assert described("cpl").node("learner").parameters["cpl.least_won"] == 0.6
    state = described("iql").node("learner").parameters
    assert state["feature_noise"] == 0 and state["iql.best_share"] == 0.5


def test_options_of_the_run_and_parameters_replace_what_is_chosen_here(described):
    graph = described("iql", feedback="preference", updates=7, overrides={"learner": {"max_ratings": 40}})
    learner = graph.node("learner").parameters
    assert (learner["feedback"], learner["offline_updates"], learner["max_ratings"]) == ("preference", 7, 40)
    assert graph.node("monitor").parameters["max_updates"] == 7


@pytest.mark.parametrize(
    ("algorithm", "more", "parameter"),
    [
        ("ikl", {}, "learner.algorithm"),
        ("", {}, "algorithm"),
        ("bc", {"feedback": "rating"}, "feedback"),
        ("cpl", {"feedback": "rating"}, "vlm_rater.feedback"),
        ("cpl", {"feedback": "both"}, "vlm_rater.feedback"),
        ("bc", {"overrides": {"learner": {"algorithm": "iql"}}}, "learner.algorithm"),
        ("bc", {"overrides": {"learner": {"offline_updates": 0}}}, "learner.offline_updates"),
    ],
)
def test_what_does_not_go_together_is_refused(described, algorithm, more, parameter):
    with pytest.raises(ConfigError) as refused:
        described(algorithm, **more)
    assert refused.value.parameter == parameter


def test_a_dataset_of_another_robot_is_refused_with_both_specs(tmp_path, capsys):
    other = spaces_of(TASK, [f"axis{i}" for i in range(1, 7)])
    write_dataset(tmp_path / "d", "drawer_open", [make_episode(0, 5, side=16, spaces=other)], "test")
    with pytest.raises(ConfigError) as refused:
        survey(tmp_path / "d").require(SPACES)
    assert refused.value.file == str(tmp_path / "d")
    call = ["run", "train_offline", "--dataset", str(tmp_path / "d"), "--algorithm", "bc", "--robot", "sim_arm"]
    assert main([*call, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "axis1" in said and "joint1" in said and str(tmp_path / "d") in said
    assert not (tmp_path / "run" / "config" / "run.json").exists()


def test_a_dataset_of_another_task_is_refused(dataset):
    task = replace(TASK, observed_rotation="yaw")
    with pytest.raises(ConfigError) as refused:
        survey(dataset).require(run_spaces(load_robot("sim_arm").overrides()["/**"], task))
    assert refused.value.file == str(dataset)


def test_damaged_datasets_are_refused_by_file(tmp_path, capsys):
    def refused(path, *words):
        assert main(["run", "train_offline", "--algorithm", "bc", "--dataset", str(path), "--out", f"{path}_run"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and all(word in said for word in words), said

    refused(tmp_path / "absent", str(tmp_path / "absent"))
    write_dataset(tmp_path / "d", "drawer_open", [make_episode(i, 5, side=16, spaces=SPACES) for i in range(2)], "test")
    bundle = make_episode(1, 5, side=16, spaces=SPACES).to_bundle()
    bundle.arrays["actions"] = np.full_like(bundle.arrays["actions"], np.nan)
    (tmp_path / "d" / "episode_00001.bundle").write_bytes(encode(bundle))
    refused(tmp_path / "d", "episode_00001.bundle", "actions")
    info = json.loads((tmp_path / "d" / INFO).read_text())
    (tmp_path / "d" / INFO).write_text(json.dumps({**info, "episodes": 0}))
    refused(tmp_path / "d", INFO)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-steps", "100"], ["--updates", "0"], ["--evaluate", "-1"], ["--adapter", "joint_velocity"],
        ["--set", "viewer.task=x"], ["--set", "policy_controller.nothing=1"],
    ],
)  # fmt: skip
def test_bad_options(dataset, tmp_path, capsys, started, arguments):
    call = ["run", "train_offline", "--dataset", str(dataset), "--algorithm", "bc", "--out", str(tmp_path / "run")]
    assert main([*call, *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not started


def test_online_runs_know_no_offline_options(tmp_path, capsys):
    assert main(["run", "train_sim", "--algorithm", "iql", "--out", str(tmp_path / "run")]) == 2
    assert "--algorithm" in capsys.readouterr().err


def test_task_and_robot_are_the_datasets_and_the_evaluation_finds_its_files(dataset, tmp_path, started):
    run = tmp_path / "run"
    call = ["run", "train_offline", "--dataset", str(dataset), "--algorithm", "bc", "--out", str(run)]
    assert main([*call, "--set", "policy_controller.jpeg_quality=77", "--evaluate", "3"]) == 130
    kept = json.loads((run / "config" / "run.json").read_text())
    assert kept["task"] == "drawer_open" and kept["data"]["evaluate"] == 3 and kept["graph"] == "train_offline"
    assert load_robot(run / "config" / "robot.yaml") == load_robot("sim_arm")
    graph = session.GRAPHS[offline.evaluation_graph(kept)](
        RunArguments(str(run / "config" / "task.yaml"), tmp_path / "e", seed=5, source=run, episodes=3)
    )
    values = graph.node("policy_controller").parameters
    assert values["jpeg_quality"] == 77 and values["mode"] == "evaluate" and values["final_eval_episodes"] == 3
    assert graph.node("monitor").parameters["max_updates"] is None
    assert graph.node("sim_bridge").parameters["task"] == str(run / "config" / "task.yaml")
    # continued: more of it, and nothing else
    assert main(["run", "train_offline", "--resume", str(run), "--updates", "9000", "--evaluate", "0"]) == 130
    again = started[1].graph.node("learner").parameters
    assert (again["offline_updates"], again["algorithm"], again["resume"]) == (9000, "bc", True)
    assert main(["run", "train_offline", "--resume", str(run), "--algorithm", "iql"]) == 2


def test_what_the_policy_sees_holds_for_its_evaluation_too(dataset, tmp_path, started):
    run = tmp_path / "run"
    call = ["run", "train_offline", "--dataset", str(dataset), "--algorithm", "iql", "--out", str(run)]
    assert main([*call, "--observe", "images", "--set", "policy_controller.image_size=64"]) == 130
    nodes = ("learner", "policy_controller")
    written = {node: read_parameter_file(run / "config" / f"{node}.yaml")[node] for node in nodes}
    assert written["learner"]["observe"] == written["policy_controller"]["observe"] == "images"
    assert written["policy_controller"]["image_size"] == 64


def test_a_task_without_a_scene_is_learned_and_not_evaluated(tmp_path, started, capsys):
    spaces = run_spaces(load_robot("sim_arm").overrides()["/**"], load_task("paper_drawer"))
    sizes = spaces.observation.size, spaces.action.size
    rng = np.random.default_rng(0)
    arrays = {"observations": rng.normal(size=(6, sizes[0])), "actions": rng.uniform(-1, 1, (5, sizes[1]))}
    episode = make_episode(0, 5, side=16, **arrays, spaces=spaces, prop_dim=spaces.observation.proprio_size)
    write_dataset(tmp_path / "d", "paper_drawer", [episode], "test", robot_path("sim_arm"))
    call = ["run", "train_offline", "--dataset", str(tmp_path / "d"), "--algorithm", "bc", "--out", str(tmp_path / "r")]
    assert main(call) == 2
    assert "--evaluate 0" in capsys.readouterr().err and not started
    assert main([*call, "--evaluate", "0"]) == 130
    assert len(started) == 1 and len(started[0].graph.notes) == 1
    # on a real arm there is no scene to be had; a person resets it
    call[-1] = str(tmp_path / "real")
    assert main([*call, "--evaluate-on", "real", "--adapter", "joint_velocity"]) == 130
    assert (tmp_path / "real" / "config" / "camera.yaml").is_file() and not started[1].graph.notes
    assert "joint_velocity" in (tmp_path / "real" / "config" / "safety_guard.yaml").read_text()


def test_the_result_of_the_evaluation_becomes_the_runs(tmp_path):
    run, there = tmp_path / "run", tmp_path / "run" / "evaluations" / "seed1000-n2"
    for folder in (run, there):
        (folder / "checkpoint").mkdir(parents=True)
    (run / "summary.json").write_text(json.dumps({"wall_s": 8.0, "evaluations": [], "success_rate": None}))
    (run / "checkpoint" / "monitor.json").write_text(json.dumps({"evaluations": []}))
    entry = {"env_steps": 0, "wall_s": 1.0, "episodes": 2, "success": [True, False], "progress": [1.0, 0.2]}
    (there / "checkpoint" / "monitor.json").write_text(json.dumps({"evaluations": [entry]}))
    result = {"env_steps": 63, "eval_episodes": 2, "success_rate": 0.5, "success_source": "ground truth"}
    summary = offline.keep_evaluation(run, {**result, "mean_progress": 0.6, "files": str(there)})
    assert (summary["success_rate"], summary["eval_episodes"]) == (0.5, 2)
    assert json.loads((run / "summary.json").read_text()) == summary
    kept = json.loads((run / "checkpoint" / "monitor.json").read_text())["evaluations"]
    assert kept == [{**entry, "env_steps": 63, "wall_s": 8.0}]


@pytest.fixture
def learned(dataset, tmp_path, monkeypatch):
    """A function that makes the directory of an offline run by some algorithm, as if it had learned."""

    def make(algorithm, *settings):
        run = tmp_path / algorithm
        call = ["run", "train_offline", "--dataset", str(dataset), "--algorithm", algorithm, "--out", str(run)]

        def fake(prepared, stream):
            prepared.graph.write_parameters(prepared.path / "config")
            for name in ("learner.safetensors", "reward_trainer.safetensors", "monitor.json"):
                (prepared.path / "checkpoint" / name).write_text(f"{algorithm} {name}")
            with closing(sqlite3.connect(prepared.path / "ledger.sqlite")) as ledger:
                ledger.execute("CREATE TABLE paid (label)")
                ledger.commit()
            return Outcome("interrupted")

        with monkeypatch.context() as patched:
            patched.setattr(session, "run_graph", fake)
            assert main([*call, *settings]) == 130
        return run

    return make


def test_an_online_run_begins_with_what_an_offline_one_has_learned(learned, tmp_path, started):
    before = learned("iql", "--set", "learner.iql.beta=2.5", "--feedback", "preference")
    run = tmp_path / "online"
    assert main(["run", "train_sim", "--from", str(before), "--out", str(run), "--headless"]) == 130
    nodes = {spec.name: spec.parameters for spec in started[0].graph.nodes}
    learner = nodes["learner"]
    assert (learner["algorithm"], learner["iql.beta"], learner["feedback"]) == ("iql", 2.5, "preference")
    assert learner["live"] and learner["episode_source"] == "live" and learner["max_ratings"] == 900
    assert nodes["vlm_rater"]["feedback"] == nodes["reward_trainer"]["feedback"] == "preference"
    assert nodes["policy_controller"]["mode"] == "train" and learner["updates_per_step"] == 1.0
    for name in ("reward_trainer.safetensors", "monitor.json"):
        assert (run / "checkpoint" / name).read_text() == f"iql {name}"
    with closing(sqlite3.connect(run / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT name FROM sqlite_master").fetchall() == [("paid",)]
    # continued: the origin is not needed any more
    shutil.rmtree(before)
    assert main(["run", "train_sim", "--resume", str(run), "--headless"]) == 130
    again = started[1].graph.node("learner").parameters
    assert again["iql.beta"] == 2.5 and again["algorithm"] == "iql" and again["resume"]


def test_runs_that_no_other_can_go_on_from(learned, tmp_path, capsys, started):
    out = ["--out", str(tmp_path / "x"), "--headless"]

    def refused(*arguments):
        assert main(["run", "train_sim", *map(str, arguments), *out]) == 2
        assert not started and capsys.readouterr().err.count("\n") == 1

    refused("--from", tmp_path / "absent")
    refused("--from", learned("bc"))
    before = learned("iql")
    refused("--from", before, "--task", "sweep_into")
    refused("--from", before, "--demos", tmp_path)
    with RunDirectory(before, resume=True):
        refused("--from", before)  # it is still going
    (before / "checkpoint" / "learner.safetensors").unlink()
    refused("--from", before)
    assert main(["run", "train_sim", *out]) == 130  # nothing was left in the folder


def test_demonstrations_fill_the_buffer_first(dataset, tmp_path, started, capsys):
    call = ["run", "train_sim", "--demos", str(dataset), "--headless", "--out", str(tmp_path / "run")]
    assert main(call) == 130
    nodes = {spec.name: spec.parameters for spec in started[0].graph.nodes}
    learner = nodes["learner"]
    assert (learner["episode_source"], learner["episode_source_path"]) == ("dataset", str(dataset))
    assert learner["demonstrations"] and learner["live"] and learner["algorithm"] == "sac"
    assert nodes["reward_trainer"]["episode_source_path"] == str(dataset)
    assert nodes["monitor"]["recorded_episodes"] == 3
    capsys.readouterr()
    call[-1] += "2"
    assert main([*call, "--set", "vlm_rater.teacher=scripted"]) == 2  # it knows nothing of recordings
    assert main([*call, "--task", "pick_place"]) == 2  # other spaces
    assert len(started) == 1


def test_successes_alone_are_learned_from_by_all_that_read_the_recordings(described):
    graph = described("iql", keep="successful")
    for node in ("learner", "reward_trainer"):
        assert graph.node(node).parameters["episode_source_keep"] == "successful"
    assert described("bc").node("learner").parameters["episode_source_keep"] == "every"


def test_a_source_of_successes_alone_is_numbered_anew(tmp_path):
    verdicts = (False, True, None, True)
    episodes = [make_episode(i, 20 + i, side=16, spaces=SPACES, success=said) for i, said in enumerate(verdicts)]
    write_dataset(tmp_path / "d", "drawer_open", episodes, "test")
    source = make_source("dataset", str(tmp_path / "d"), False, SUCCESSFUL)
    found = [source.poll().episode for _ in range(2)]
    assert [(e.index, e.steps) for e in found] == [(0, 21), (1, 23)]
    assert source.poll() is None and source.exhausted
    write_dataset(tmp_path / "failed", "drawer_open", episodes[:1], "test")
    with refused(ConfigError, parameter="learner.episode_source_keep", code=Code.NOT_GIVEN):
        make_source("dataset", str(tmp_path / "failed"), False, SUCCESSFUL).poll()
