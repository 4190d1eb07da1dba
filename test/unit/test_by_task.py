# SPDX-License-Identifier: Apache-2.0
"""A task file from another user: what it may set, what is refused, and what a run says at its start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.secrets import address_problem, check_secrets, variable_problem
from erl_vlm_ros.common.tasks import load_task, task_names
from erl_vlm_ros.graphs.build import evaluate_sim, train_real, train_sim
from erl_vlm_ros.graphs.safety import GUARD, NOT_LIMITS
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.params.by_task import BY_TASK, allowed, check_task
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.runs.session import START_LOG, prepare_training
from erl_vlm_ros.training.configs import node_values

SECRET = "sk-proj-Zk3v9QxWm2"


def table(node):
    return {param.name: param for param in PARAMETERS[node]}


def task_file(folder, parameters):
    raw = yaml.safe_load(Path(load_task("drawer_open").path).read_text())
    raw["parameters"] = parameters
    file = folder / "theirs.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def test_every_entry_of_the_list_names_a_parameter():
    for node, entries in BY_TASK.items():
        for entry in entries:
            assert any(allowed(node, name) and (name == entry or entry.endswith(".*")) for name in table(node)), entry


def test_a_new_parameter_is_not_a_tasks_to_set():
    for node in PARAMETERS:
        assert not allowed(node, "brand_new") and not allowed(node, "human.brand_new")


def test_a_task_may_name_a_kind_of_feedback_but_no_python_module(tmp_path):
    check_task({"vlm_rater": {"feedback": "transitions"}}, "theirs.yaml")
    with pytest.raises(ConfigError) as caught:
        check_task({"vlm_rater": {"feedback": "os:path"}}, "theirs.yaml")
    assert caught.value.code is Code.NOT_BY_TASK and caught.value.parameter == "vlm_rater.feedback"


def test_no_free_text_and_nothing_of_the_guard_is_a_tasks_to_set():
    """Addresses, keys, files, drivers and ports are free texts."""
    chosen_elsewhere = {"rerate.variations", "feedback", "reward_model", "objective"}  # names that their readers know
    chosen_elsewhere |= {"policy_cameras", "reward_cameras", "rater_cameras"}
    for node in PARAMETERS:
        for name in filter(lambda name: allowed(node, name), table(node)):
            free = table(node)[name].type.startswith("str") and not table(node)[name].choices
            assert not free or name in chosen_elsewhere, f"{node}.{name}"
    assert not any(allowed(GUARD, name) for name in table(GUARD))


@pytest.mark.parametrize("name", task_names())
def test_the_shipped_tasks_keep_to_it(name):
    check_task(load_task(name).parameters, name)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("make", [train_sim, train_real])
@pytest.mark.parametrize(
    ("node", "key", "value"),
    [
        ("vlm_rater", "base_url", "http://x/v1"),
        ("vlm_rater", "api_key_env", "AWS_SECRET_ACCESS_KEY"),
        ("vlm_rater", "audit.base_url", "http://x/v1"),
        ("vlm_rater", "ledger", "/etc/x"),
        ("vlm_rater", "max_money", 1e6),
        ("safety_guard", "max_speed", 2.0),
        ("safety_guard", "forbidden_boxes", [9.0] * 6),
        ("policy_controller", "auto_arm", True),
        ("policy_controller", "home_positions", [1.0]),
        ("/**", "base_frame", "x"),
    ],
)
def test_a_task_that_reaches_beyond_itself_is_refused(tmp_path, make, node, key, value, nested):
    inner = {key: value}
    if nested:
        group, dot, rest = key.partition(".")
        inner = {group: {rest: value}} if dot else inner
    file = task_file(tmp_path, {node: inner})
    with pytest.raises(ConfigError) as caught:
        make(RunArguments(str(file), tmp_path))
    assert caught.value.code is Code.NOT_BY_TASK and caught.value.parameter == f"{node}.{key}"
    assert str(file) in caught.value.file
    if node in ("vlm_rater", "policy_controller"):
        with pytest.raises(ConfigError) as caught:
            node_values(node, load_task(file))
        assert caught.value.code is Code.NOT_BY_TASK


def test_what_it_may_set_holds_nested_or_dotted(tmp_path):
    file = task_file(tmp_path, {"learner": {"sac": {"gamma": 0.9}, "selection.bins": 7}})
    values = train_sim(RunArguments(str(file), tmp_path)).node("learner").parameters
    assert (values["sac.gamma"], values["selection.bins"]) == (0.9, 7)


# -- limits of the guard that are not as shipped


def test_changed_limits_are_named_one_a_line(tmp_path):
    def notes(make=train_real, real=None, **overrides):
        overrides = {GUARD: overrides} if overrides else {}
        return make(RunArguments("paper_bowl", tmp_path, overrides=overrides, real=real or RealOptions())).notes

    assert notes() == ()
    assert notes(adapter="joint_velocity", controller_joints=["a"], urdf_file="x") == ()  # what the arm is like
    changed = notes(max_speed=2.0, joint_margin=0.05)
    assert [line.split()[0] for line in changed] == ["safety_guard.joint_margin", "safety_guard.max_speed"]
    assert "2" in changed[1] and "0.25" in changed[1]
    for make in (train_sim, evaluate_sim):
        assert make(RunArguments("drawer_open", tmp_path)).notes == ()
    sim_arm = RunArguments("drawer_open", tmp_path, real=RealOptions(use_sim_arm=True))
    assert train_real(sim_arm).notes == ()
    assert set(table(GUARD)) >= NOT_LIMITS


def test_they_are_announced_and_kept(tmp_path):
    prepared = prepare_training(
        "train_sim", "drawer_open", 0, str(tmp_path / "run"), None, None, True, ["safety_guard.max_speed=0.5"]
    )
    prepared.close()
    lines = prepared.announcement.splitlines()
    assert len(lines) == 2 and "safety_guard.max_speed" in lines[1]
    assert (prepared.path / START_LOG).read_text().splitlines() == lines


# -- secrets


@pytest.mark.parametrize(
    "setting",
    [
        f"vlm_rater.api_key_env={SECRET}",
        f"vlm_rater.audit.api_key_env={SECRET}",
        f"vlm_rater.ensemble.api_key_envs=[OPENAI_API_KEY, {SECRET}]",
        f"vlm_rater.base_url=https://me:{SECRET}@vlm.example/v1",
        f"vlm_rater.base_url=https://vlm.example/v1?key={SECRET}",
        f"vlm_rater.ensemble.base_urls=['https://{SECRET}@vlm.example/v1']",
        f"vlm_rater.max_tokens={SECRET}",
        f"vlmrater={SECRET}",
        f"vlm_rater.api_key={SECRET}",
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_stands_nowhere(tmp_path, capsys, setting):
    out = tmp_path / "run"
    assert main(["run", "train_sim", "--headless", "--out", str(out), "--set", setting]) == 2
    said = capsys.readouterr()
    if "max_tokens" not in setting:  # an ordinary wrong value is shown
        assert SECRET not in said.out + said.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_names_of_variables_and_keys():
    for name in ("", "OPENAI_API_KEY", "MY_KEY", "_X", "KEY2", "AZURE_OPENAI_API_KEY_FOR_THE_LABORATORY"):
        assert variable_problem(name) == ""
    for key in (SECRET, "AKIAIOSFODNN7EXAMPLE", "A" * 30, "lower_case", "WITH SPACE", "X_" * 40, "Ä"):
        problem = variable_problem(key)
        assert problem and key not in problem
    assert address_problem("http://127.0.0.1:8000/v1") == ""
    for address in ("http://a:b@h/v1", "http://h/v1?k=1", "http://[bad@"):
        assert address_problem(address) and address not in address_problem(address)
    with pytest.raises(ConfigError) as caught:
        check_secrets("vlm_rater", {"api_key_env": SECRET})
    assert caught.value.code is Code.SECRET and caught.value.parameter == "vlm_rater.api_key_env"


def test_files_that_may_hold_an_address_with_a_password_are_for_their_owner(tmp_path):
    out = tmp_path / "run"
    prepared = prepare_training("train_sim", "drawer_open", 0, str(out), None, None, True, [])
    prepared.graph.write_parameters(out / "config")
    prepared.close()
    assert json.loads((out / "config" / "run.json").read_text())["task"] == "drawer_open"
    for name in ("run.json", "vlm_rater.yaml", "safety_guard.yaml"):
        assert os.stat(out / "config" / name).st_mode & 0o777 == 0o600
