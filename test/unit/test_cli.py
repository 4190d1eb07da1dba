# SPDX-License-Identifier: Apache-2.0
"""The command line: bad input gives one clear line and exit status 2, and starts nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from erl_vlm_ros.cli import main
from erl_vlm_ros.runs import report as session_report
from erl_vlm_ros.runs import session
from erl_vlm_ros.runs.supervisor import Outcome

RUN = ["run", "train_sim", "--headless"]


@pytest.fixture
def started(monkeypatch):
    """Graphs that would have been started."""
    graphs = []

    def fake(prepared, stream):
        graph, path = prepared.graph, prepared.path
        graphs.append(graph)
        summary = {
            "task": "drawer_open", "seed": 0, "env_steps": 100, "ratings_valid": 5, "rating_accuracy": 0.8,
            "success_rate": 0.9, "eval_episodes": 20, "wall_s": 61.0, "evaluations": [{"mean_progress":
            0.95}],
        }  # fmt: skip
        (path / "summary.json").write_text(json.dumps(summary))
        (path / "checkpoint" / "reward_trainer.safetensors").write_text("")
        graph.write_parameters(path / "config")
        return Outcome("finished")

    monkeypatch.setattr(session, "run_graph", fake)
    return graphs


def refused(capsys, arguments, *words):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("erl-vlm: ") and err.count("\n") == 1
    for word in words:
        assert word in err
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "fold_towel"], ["fold_towel", "drawer_open"]),
        (["--task", "absent.yaml"], ["absent.yaml"]),
        (["--set", "learner.gamma_=1"], ["learner", "gamma_"]),
        (["--set", "nobody.x=1"], ["nobody"]),
        (["--max-steps", "0"], ["--max-steps"]),
        (["--resume", "absent"], ["absent", "no run"]),
        (["--seed", "-1"], ["seed"]),
        (["--set", "learner.seed=[1"], ["--set", "YAML"]),
        (["--params-file", "absent"], ["--params-file absent", "systematic_errors"]),
        (["--params-file", "absent/file.yaml"], ["absent/file.yaml"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, monkeypatch, started, arguments, words):
    monkeypatch.chdir(tmp_path)
    refused(capsys, [*RUN, *arguments], *words)
    assert not started


def test_second_run_into_the_same_directory(capsys, tmp_path, started):
    out = str(tmp_path / "run")
    assert main([*RUN, "--out", out]) == 0
    refused(capsys, [*RUN, "--out", out], "--resume", out)
    assert len(started) == 1


def test_a_refused_start_leaves_the_directory_usable(tmp_path, started):
    out = str(tmp_path / "run")
    assert main([*RUN, "--out", out, "--set", "learner.bad=1"]) == 2
    assert main([*RUN, "--out", out]) == 0


@pytest.mark.parametrize("file", ["config/learner.yaml", "config/task.yaml", "config/run.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe: {", b"a: [1,"])
def test_damaged_files_of_a_run_that_is_continued(capsys, tmp_path, started, file, content):
    assert main([*RUN, "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "run" / file).write_bytes(content)
    capsys.readouterr()
    refused(capsys, [*RUN, "--resume", str(tmp_path / "run")], str(tmp_path / "run" / file))
    assert len(started) == 1 and (tmp_path / "run" / file).read_bytes() == content


def test_a_disk_that_fills_up_while_starting(capsys, tmp_path, started, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main([*RUN, "--out", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "run.json" in err and "No space left" in err


def test_what_a_run_prints(capsys, tmp_path, started, monkeypatch):
    monkeypatch.setattr(session_report.shutil, "which", lambda name: f"/usr/bin/{name}")
    out = tmp_path / "run"
    assert main([*RUN, "--out", str(out), "--max-steps", "100"]) == 0
    text = capsys.readouterr().out
    assert "success rate 90% of 20 episodes after 100 steps, 5 ratings (80% right), 1:01" in text
    assert f"erl-vlm run train_sim --resume {out} --max-steps 200" in text
    assert f"erl-vlm evaluate {out} --episodes 20 --seed 1000" in text
    assert started[0].node("policy_controller").parameters["max_steps"] == 100


def test_the_printed_command_works_without_an_active_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(session_report.shutil, "which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "erl-vlm")])
    assert session_report._command() == ".venv/bin/erl-vlm"
    monkeypatch.setattr(sys, "argv", ["/somewhere/cli.py"])
    assert session_report._command() == f"{sys.executable} -m erl_vlm_ros.cli"


def test_resume_keeps_task_seed_and_settings(tmp_path, started):
    out = str(tmp_path / "run")
    settings = ["--set", "learner.first_ratings=77"]
    assert main([*RUN, "--out", out, "--task", "sweep_into", "--seed", "4", "--max-steps", "100", *settings]) == 0
    assert main([*RUN, "--resume", out, "--max-steps", "300"]) == 0
    again = started[1]
    values = again.node("learner").parameters
    assert (values["seed"], values["first_ratings"], values["resume"]) == (4, 77, True)
    assert again.node("policy_controller").parameters["max_steps"] == 300
    assert again.node("sim_bridge").parameters["task"] == again.node("vlm_rater").parameters["task"]
    assert "name: sweep_into" in Path(values["task"]).read_text()


def test_a_parameter_file_lies_under_set_and_is_kept_for_resume(capsys, tmp_path, started):
    out, mine = str(tmp_path / "run"), tmp_path / "mine.yaml"
    mine.write_text("learner: {ros__parameters: {sac: {gamma: 0.9}, first_ratings: 77}}\n")
    files = ["--params-file", "systematic_errors", "--params-file", str(mine), "--set", "learner.first_ratings=88"]
    assert main([*RUN, "--out", out, *files]) == 0
    assert main([*RUN, "--resume", out]) == 0
    for graph in started:
        learner, rater = graph.node("learner").parameters, graph.node("vlm_rater").parameters
        assert (learner["sac.gamma"], learner["first_ratings"]) == (0.9, 88)
        assert (rater["teacher"], rater["ensemble.prompts"]) == ("ensemble", ["", "reworded", "mirrored"])
        assert graph.node("reward_trainer").parameters["heads.object_weight"] == 30.0
    mine.write_text("learner: {ros__parameters: {first_rating: 77}}\n")
    refused(capsys, [*RUN, "--out", str(tmp_path / "b"), "--params-file", str(mine)], str(mine), "first_rating")
    mine.write_text("learner: 5\n")
    refused(capsys, [*RUN, "--out", str(tmp_path / "b"), "--params-file", str(mine)], str(mine), "ros__parameters")


def test_a_run_that_ended_before_its_first_step_begins_anew(capsys, tmp_path, started):
    out = tmp_path / "run"
    assert main([*RUN, "--out", str(out)]) == 0
    trainer, record = out / "checkpoint" / "reward_trainer.safetensors", out / "checkpoint" / "monitor.json"
    trainer.unlink()
    record.write_text('{"env_steps": 0}')
    resume = [*RUN, "--resume", str(out), "--set", "learner.first_ratings=33"]
    assert main(resume) == 0
    assert started[-1].node("learner").parameters["resume"] is False
    assert started[-1].node("learner").parameters["first_ratings"] == 33
    assert "beginning anew" in capsys.readouterr().out
    trainer.unlink()
    record.write_text('{"env_steps": 50}')  # then the nodes say what is missing
    assert main(resume) == 0
    assert started[-1].node("learner").parameters["resume"] is True


def test_only_a_training_run_is_continued_or_evaluated(capsys, tmp_path, started):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "run.json").write_text('{"graph": "evaluate_sim", "of": "somewhere"}')
    refused(capsys, [*RUN, "--resume", str(tmp_path)], "run.json")
    refused(capsys, ["evaluate", str(tmp_path)], "run.json")


def test_resume_refuses_another_task_or_seed(capsys, tmp_path, started):
    out = str(tmp_path / "run")
    assert main([*RUN, "--out", out]) == 0
    capsys.readouterr()
    refused(capsys, [*RUN, "--resume", out, "--task", "sweep_into"], "--task", "drawer_open")
    refused(capsys, [*RUN, "--resume", out, "--seed", "9"], "--seed")
    refused(capsys, [*RUN, "--resume", out, "--out", str(tmp_path / "b")], "--out")


def test_evaluate_needs_a_run_and_a_policy(capsys, tmp_path, started):
    refused(capsys, ["evaluate", str(tmp_path / "absent")], "absent")
    out = str(tmp_path / "run")
    assert main([*RUN, "--out", out]) == 0
    capsys.readouterr()
    refused(capsys, ["evaluate", out], "no policy yet")
    refused(capsys, ["evaluate", out, "--episodes", "0"], "--episodes")
    (tmp_path / "run" / "checkpoint" / "learner.safetensors").write_bytes(b"rubbish")
    refused(capsys, ["evaluate", out], "learner.safetensors")


def test_evaluate_prints_one_json_line_last(capsys, tmp_path, started, monkeypatch):
    import erl_vlm_ros.runs.export

    monkeypatch.setattr(erl_vlm_ros.runs.export, "export_actor", lambda run, path: 4321)
    out = str(tmp_path / "run")
    assert main([*RUN, "--out", out]) == 0
    capsys.readouterr()
    for _ in range(2):  # again into a folder of its own
        assert main(["evaluate", out, "--episodes", "20", "--seed", "1000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    results = [json.loads(line) for line in lines]
    assert results[0]["success_rate"] == 0.9 and results[0]["env_steps"] == 4321
    assert results[0]["files"] != results[1]["files"]
    assert started[1].name == "evaluate_sim"


def test_plot_without_a_run(capsys, tmp_path):
    refused(capsys, ["plot", str(tmp_path)], "nothing to plot")


def test_help_is_quick_and_light():
    slow = {"torch", "openai", "mujoco", "scipy"}
    code = f"import sys; from erl_vlm_ros.cli import parser; parser(); assert not {slow} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
