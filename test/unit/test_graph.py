# SPDX-License-Identifier: Apache-2.0
"""The node graphs: what they start, how parameters are layered, and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task, simulated_tasks, task_names
from erl_vlm_ros.graphs.build import GRAPHS, STANDIN, evaluate_sim, train_sim
from erl_vlm_ros.graphs.spec import RunArguments
from erl_vlm_ros.graphs.teacher import announce_teacher, check_teacher
from erl_vlm_ros.params.layers import check, flatten, parse_overrides, read_parameter_file
from erl_vlm_ros.params.renamed import RenamedWarning
from erl_vlm_ros.params.tables import PARAMETERS


@pytest.fixture
def arguments(tmp_path):
    def make(**values):
        return RunArguments(**{"task": "drawer_open", "out": tmp_path, **values})

    return make


def test_graph_needs_neither_rclpy_nor_launch():
    code = (
        "import sys, erl_vlm_ros.graphs.build, erl_vlm_ros.runs.supervisor, erl_vlm_ros.runs.session, erl_vlm_ros.cli\n"
        "bad = {'rclpy', 'launch', 'torch', 'mujoco'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"train_offline"}))  # that one: test_train_offline.py
@pytest.mark.parametrize("task", task_names())
def test_every_graph_and_task_resolves(arguments, name, task):
    if name.endswith(("_sim", "collect")) and task not in simulated_tasks():
        with refused(ConfigError, parameter="scene", code=Code.NOT_GIVEN, file=load_task(task).path):
            GRAPHS[name](arguments(task=task))
        return
    graph = GRAPHS[name](arguments(task=task))
    for spec in graph.nodes:
        assert {p.name for p in PARAMETERS[spec.name]} <= set(spec.parameters)
    assert graph.ends_with in [spec.name for spec in graph.nodes]


def test_the_run_fixes_task_seed_and_folders(arguments, tmp_path):
    graph = train_sim(arguments(seed=7, max_steps=123))
    for spec in graph.nodes:
        if "seed" in spec.parameters:
            assert spec.parameters["seed"] == 7
        if "checkpoint_dir" in spec.parameters:
            assert spec.parameters["checkpoint_dir"] == str(tmp_path / "checkpoint")
    assert graph.node("policy_controller").parameters["max_steps"] == 123
    assert graph.node("monitor").parameters["max_steps"] == 123
    default = train_sim(arguments())
    for key, node in (("max_steps", "policy_controller"), ("max_ratings", "learner")):
        assert default.node("monitor").parameters[key] == default.node(node).parameters[key]
    assert graph.node("vlm_rater").parameters["ledger"] == str(tmp_path / "ledger.sqlite")
    port = graph.node(STANDIN).parameters["port"]
    assert graph.node("vlm_rater").parameters["base_url"] == f"http://127.0.0.1:{port}/v1"


def test_layers_later_ones_win(arguments, tmp_path):
    task = yaml.safe_load(Path(load_task("drawer_open").path).read_text())
    task["parameters"] = {"learner": {"first_ratings": 11, "round_ratings": 12}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(task))
    graph = train_sim(arguments(task=str(file), overrides={"learner": {"round_ratings": 13}}))
    values = graph.node("learner").parameters
    assert (values["first_ratings"], values["round_ratings"]) == (11, 13)
    assert graph.node("policy_controller").parameters["auto_arm"] is True  # from config/train_sim.yaml


def test_monitor_knows_the_learners_budget(arguments):
    graph = train_sim(arguments(overrides={"learner": {"max_ratings": 321}}))
    assert graph.node("monitor").parameters["max_ratings"] == 321


def test_another_endpoint_takes_the_stand_ins_place(arguments):
    overrides = parse_overrides(["vlm_rater.base_url=https://vlm.example/v1", "vlm_rater.api_key_env=MY_KEY"])
    graph = train_sim(arguments(overrides=overrides))
    rater = graph.node("vlm_rater")
    assert rater.parameters["base_url"] == "https://vlm.example/v1" and rater.after == ""
    assert STANDIN not in [spec.name for spec in graph.nodes]


@pytest.mark.parametrize("teacher", ["human", "scripted", "ledger"])
def test_the_stand_in_is_there_only_for_teachers_that_ask_an_endpoint(arguments, teacher):
    def names(*settings, **values):
        return [spec.name for spec in train_sim(arguments(overrides=parse_overrides(settings), **values)).nodes]

    assert STANDIN not in names(f"vlm_rater.teacher={teacher}")
    ensemble = "vlm_rater.teacher=ensemble"
    assert STANDIN in names(ensemble, "vlm_rater.ensemble.models=[a, b]")
    assert STANDIN in names(ensemble, "vlm_rater.ensemble.base_urls=['', 'http://other/v1']")
    assert STANDIN not in names(ensemble, "vlm_rater.ensemble.base_urls=['http://x/v1', 'http://y/v1']")
    audit = (f"vlm_rater.teacher={teacher}", "vlm_rater.audit.teacher=vlm", "vlm_rater.audit.model=other")
    assert STANDIN in names(*audit, "vlm_rater.audit.share=0.1") and STANDIN not in names(*audit)
    assert STANDIN not in names(*audit, "vlm_rater.audit.share=0.1", "vlm_rater.audit.base_url=http://x/v1")


def test_kind_of_feedback_and_reward_model_are_said_once(arguments):
    settings = ["vlm_rater.rate_each=transition", "learner.segment_length=3", "reward_trainer.recipe=erl"]
    with pytest.warns(RenamedWarning):
        graph = train_sim(arguments(overrides=parse_overrides(settings)))  # by their old names
    values = {spec.name: spec.parameters for spec in graph.nodes}
    for node in ("vlm_rater", "learner", "reward_trainer", "monitor"):
        assert values[node]["feedback"] == "transitions"
    assert values["learner"]["reward_model"] == values["reward_trainer"]["reward_model"] == "erl_vlm"


def test_a_teacher_that_the_graph_cannot_feed_is_refused(arguments):
    settings = ["vlm_rater.feedback=transitions", "learner.segment_length=1"]
    with refused(ConfigError, parameter="learner.segment_length", code=Code.DOES_NOT_FIT):
        train_sim(arguments(overrides=parse_overrides(settings)))
    assert train_sim(arguments(overrides=parse_overrides([settings[0], "learner.segment_length=4"])))
    no_audits = {"feedback": "rating", "audit.share": 0.0, "audit.teacher": "scripted"}
    check_teacher("train_real", {"vlm_rater": no_audits | {"teacher": "vlm"}})
    with refused(
        ConfigError, parameter="vlm_rater.teacher", code=Code.DOES_NOT_FIT, shows=("train_real", "vlm, human")
    ):
        check_teacher("train_real", {"vlm_rater": no_audits | {"teacher": "scripted"}})
    with refused(
        ConfigError, parameter="vlm_rater.audit.teacher", code=Code.DOES_NOT_FIT, shows=("train_real", "human", "vlm")
    ):
        check_teacher("train_real", {"vlm_rater": no_audits | {"teacher": "vlm", "audit.share": 0.1}})


def test_who_rates_is_told_at_the_start():
    def told(teacher, share=0.0, auditor="human"):
        rater = {"teacher": teacher, "audit.share": share, "audit.teacher": auditor}
        return announce_teacher(rater, Path("run"))

    assert told("vlm") == told("ensemble") == told("vlm", 0.1, "vlm") == ""
    assert told("human") == "; rate at the address in run/human_page.url"
    assert told("vlm", 0.1) == "; audit ratings at the address in run/human_page.url"
    assert told("scripted") == "; ratings are SCRIPTED from the simulation's ground truth"
    assert told("vlm", 0.1, "scripted") == "; audits are SCRIPTED from the simulation's ground truth"


def test_a_window_only_where_there_is_a_display(arguments, monkeypatch):
    def names(**values):
        return [spec.name for spec in train_sim(arguments(**values)).nodes]

    monkeypatch.setenv("DISPLAY", ":9")
    assert "viewer" in names() and "viewer" not in names(headless=True)
    assert not train_sim(arguments()).node("viewer").required
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "viewer" not in names()


def test_written_parameters_are_read_back_by_a_resumed_run(arguments, tmp_path):
    (tmp_path / "config").mkdir()
    first = train_sim(arguments(seed=5, overrides={"learner": {"first_ratings": 42}}))
    first.write_parameters(tmp_path / "config")
    again = train_sim(arguments(seed=5, source=tmp_path))
    assert again.node("learner").parameters["first_ratings"] == 42
    assert again.node("learner").parameters["resume"] is True
    assert first.node("learner").parameters["resume"] is False


def test_a_run_of_the_released_layout_is_continued_with_its_parameters(arguments, tmp_path):
    (tmp_path / "config").mkdir()
    graph = train_sim(arguments(overrides={"learner": {"first_ratings": 42}})).write_parameters(tmp_path / "config")
    new, old = tmp_path / "config" / "learner.yaml", tmp_path / "config" / "sac_learner.yaml"
    old.write_text(new.read_text().replace("learner:", "sac_learner:", 1))
    new.unlink()
    with pytest.warns(RenamedWarning):
        again = train_sim(arguments(source=tmp_path))
    assert again.node("learner").parameters["first_ratings"] == 42
    graph.node("learner").parameters["first_ratings"] = 43
    graph.write_parameters(tmp_path / "config")  # continued once: the old file is still there, and read no more
    assert train_sim(arguments(source=tmp_path)).node("learner").parameters["first_ratings"] == 43


def test_a_task_file_may_say_sac_learner(arguments, tmp_path):
    task = yaml.safe_load(Path(load_task("drawer_open").path).read_text())
    task["parameters"] = {"sac_learner": {"first_ratings": 11}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(task))
    with pytest.warns(RenamedWarning):
        assert train_sim(arguments(task=str(file))).node("learner").parameters["first_ratings"] == 11
    task["parameters"]["learner"] = {"round_ratings": 12}
    file.write_text(yaml.safe_dump(task))
    with pytest.warns(RenamedWarning), pytest.raises(ConfigError):
        train_sim(arguments(task=str(file)))


def test_what_the_data_of_a_run_is_made_of_stays_as_it_was(arguments, tmp_path):
    (tmp_path / "config").mkdir()
    train_sim(arguments()).write_parameters(tmp_path / "config")
    classes = {"vlm_rater": {"n_classes": 3}, "reward_trainer": {"n_classes": 3}}
    changed = (("learner.segment_length", {"learner": {"segment_length": 4}}), ("vlm_rater.n_classes", classes))
    for parameter, overrides in changed:
        with refused(ConfigError, parameter=parameter, code=Code.DOES_NOT_FIT):
            train_sim(arguments(source=tmp_path, overrides=overrides))
    assert train_sim(arguments(source=tmp_path, overrides={"learner": {"segment_length": 1}}))
    with refused(
        ConfigError, parameter="vlm_rater.n_classes", code=Code.DOES_NOT_FIT, shows="reward_trainer.n_classes"
    ):
        train_sim(arguments(overrides={"vlm_rater": {"n_classes": 3}}))
    assert train_sim(arguments(overrides=classes))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, Code.MISSING_FILE),
        (b"", Code.MISSING_FILE),
        (b"learner: {ros__parameters: {seed: \xff}}", Code.YAML),
    ],
)
def test_a_run_does_not_go_on_with_defaults_in_place_of_a_damaged_file(arguments, tmp_path, content, code):
    (tmp_path / "config").mkdir()
    train_sim(arguments()).write_parameters(tmp_path / "config")
    file = tmp_path / "config" / "learner.yaml"
    file.unlink() if content is None else file.write_bytes(content)
    with refused(ConfigError, code=code, file=file):
        train_sim(arguments(source=tmp_path))


def test_a_full_disk_leaves_the_parameter_files_of_a_run(arguments, tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    graph = train_sim(arguments())
    graph.write_parameters(tmp_path / "config")
    before = (tmp_path / "config" / "learner.yaml").read_text()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with refused(OSError, errno=28, shows=".yaml"):
        graph.write_parameters(tmp_path / "config")
    assert (tmp_path / "config" / "learner.yaml").read_text() == before


def test_commands(arguments, tmp_path):
    (tmp_path / "config").mkdir()
    graph = train_sim(arguments(overrides={STANDIN: {"error_rate": 0.35, "no_schema": True}})).write_parameters(
        tmp_path / "config"
    )
    node = graph.node("learner").command()
    assert node[:3] == ["-m", "erl_vlm_ros.nodes.learner", "--ros-args"]
    assert node[-2:] == ["--params-file", str(tmp_path / "config" / "learner.yaml")]
    server = graph.node(STANDIN).command()
    assert server[server.index("--error-rate") + 1] == "0.35" and "--no-schema" in server
    assert graph.node("vlm_rater").after == STANDIN and graph.node(STANDIN).ready_text


def test_standin_options_are_those_of_its_table():
    from erl_vlm_ros.standin.vlm import parser

    actions = {a.dest: a for a in parser()._actions if a.dest != "help"}
    table = {p.name: p for p in PARAMETERS[STANDIN]}
    assert set(actions) == set(table)
    for name, param in table.items():
        assert (actions[name].nargs == 0) == (param.type == "bool"), name


def test_evaluation_uses_the_runs_parameters(arguments, tmp_path):
    run, out = tmp_path / "run", tmp_path / "eval"
    (run / "config").mkdir(parents=True)
    train_sim(arguments(out=run, overrides={"sim_bridge": {"image_width": 96}})).write_parameters(run / "config")
    graph = evaluate_sim(arguments(out=out, source=run, seed=1000, episodes=3))
    controller = graph.node("policy_controller").parameters
    assert controller["mode"] == "evaluate" and controller["eval_seed"] == 1000
    assert controller["final_eval_episodes"] == 3 and controller["checkpoint_dir"] == ""
    assert graph.node("sim_bridge").parameters["image_width"] == 96
    assert not any(spec.name in ("learner", STANDIN) for spec in graph.nodes)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("sac_lerner.seed=1", ["sac_lerner"]),
        ("learner.sede=1", ["learner", "sede"]),
        ("learner.capacity=many", ["capacity"]),
        ("learner.capacity=1", ["capacity"]),
        ("learner.seed", ["--set"]),
        ("=3", ["--set"]),
        ("learner.seed=[1", ["--set", "YAML"]),
    ],
)
def test_a_bad_setting_is_named(arguments, setting, names):
    with pytest.raises(ConfigError) as error:
        train_sim(arguments(overrides=parse_overrides([setting])))
    for name in names:
        assert name in str(error.value)


def test_a_node_of_another_graph_is_refused(arguments):
    with refused(ConfigError, parameter="learner", code=Code.UNKNOWN, shows="evaluate_sim"):
        evaluate_sim(arguments(overrides={"learner": {"seed": 1}}))


def test_a_key_that_no_node_declares_is_refused(tmp_path, arguments):
    task = yaml.safe_load(Path(load_task("drawer_open").path).read_text())
    task["parameters"] = {"learner": {"no_such_key": 1}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(task))
    with refused(ConfigError, parameter="learner.no_such_key", code=Code.UNKNOWN, file=file):
        train_sim(arguments(task=str(file)))
    with refused(ConfigError, parameter="/**.nothing", code=Code.UNKNOWN, file="file.yaml"):
        check({"/**": {"nothing": 1}}, "file.yaml")


def test_every_shipped_parameter_file_is_valid():
    for file in sorted(set(resource("config").glob("*.yaml")) - {resource("config/prices.yaml")}):
        check(read_parameter_file(file), str(file))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("[1, 2]", {"code": Code.UNREADABLE}),
        ("node: 3", {"parameter": "node", "code": Code.UNREADABLE}),
        ("node: {parameters: {}}", {"parameter": "node", "code": Code.UNREADABLE}),
        ("node: {ros__parameters: 3}", {"parameter": "node", "code": Code.UNREADABLE}),
        ("a: [", {"code": Code.YAML, "line": ":1"}),
    ],
)
def test_a_malformed_parameter_file_is_named(tmp_path, text, fields):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    line = fields.pop("line", "")
    with refused(ConfigError, file=f"{file}{line}", **fields):
        read_parameter_file(file)


def test_setting_values_keep_the_declared_type():
    read = parse_overrides(["vlm_rater.model=4", "learner.sac.hidden=[64, 64]", "monitor.settle_s=3"])
    assert read["vlm_rater"]["model"] == "4"
    assert read["learner"]["sac.hidden"] == [64, 64]
    assert flatten({"a": {"b": 1, "c": {"d": 2}}}) == {"a.b": 1, "a.c.d": 2}


@pytest.mark.parametrize("graph", [train_sim, evaluate_sim])
def test_every_process_of_a_graph_has_a_module(arguments, graph):
    for spec in graph(arguments()).nodes:
        assert importlib.util.find_spec(spec.module), spec.module
