# SPDX-License-Identifier: Apache-2.0
"""One run on two machines: which node is where, what both must agree on, who gives way, what is refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.facts import compare, facts_of, gives_way
from erl_vlm_ros.graphs.meeting import LEAVING, Meeting
from erl_vlm_ros.graphs.sides import BOTH, FACTS_FILE, OTHER, READY, ROBOT, WORKSTATION, part_of, side_of
from erl_vlm_ros.graphs.spec import DataOptions, RealOptions, RunArguments, SideOptions
from erl_vlm_ros.params.layers import parse_overrides
from erl_vlm_ros.params.tables import PARAMETERS, SIDE_KIND
from erl_vlm_ros.runs.session import prepare_training
from erl_vlm_ros.runs.two_machines import completed, discovery

NEAR = {"sim_bridge", "camera", "tool_pose", "safety_guard", "guard_watchdog", "policy_controller"}


@pytest.fixture(autouse=True)
def _no_ros_settings(monkeypatch):
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def graph(folder, overrides=(), build=train_sim, **more):
    return build(RunArguments("drawer_open", folder, headless=True, overrides=parse_overrides(overrides), **more))


def facts(folder, side, overrides=(), task="drawer_open", seed=0, **more):
    part = part_of(graph(folder, overrides, **more), side, "facts.json")
    return facts_of(part, load_task(task), None, {"graph": part.name, "run_id": f"{task}-seed{seed}", "seed": seed})


# -- which node is where


def test_every_node_has_a_side():
    kinds = set(PARAMETERS) - {SIDE_KIND}
    assert {kind for kind in kinds if side_of(kind) == ROBOT} == NEAR
    assert side_of("camera_wrist") == ROBOT and side_of("robot_side") == ROBOT
    assert side_of("workstation_side") == WORKSTATION and side_of("standin_vlm") == WORKSTATION


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(lambda folder: graph(folder), id="train_sim"),
        pytest.param(
            lambda folder: graph(folder, build=train_real, real=RealOptions(tool_pose=True, namespace="cell")),
            id="real",
        ),
    ],
)
def test_two_parts_make_the_whole(tmp_path, whole):
    whole = whole(tmp_path)
    parts = {side: part_of(whole, side, "facts.json") for side in OTHER}
    for side, part in parts.items():
        link, *own = part.nodes
        assert link.name == f"{side}_side" and link.ready_text == READY
        assert link.namespace == own[0].namespace or not own[0].ros
        assert {spec.name for spec in own} == {s.name for s in whole.nodes if side_of(s.name) == side}
        assert all(spec.after for spec in own)  # nothing moves or learns before the other side was looked for
        assert {spec.name for spec in part.elsewhere} == {s.name for s in whole.nodes if side_of(s.name) != side}
    assert parts[WORKSTATION].ends_with == "monitor" and parts[ROBOT].ends_with == "robot_side"
    assert parts[WORKSTATION].node("monitor").parameters["compressed_images"]
    assert part_of(whole, BOTH, "") == whole
    with refused(ConfigError, parameter="side", shows="cloud"):
        part_of(whole, "cloud", "")


def test_parameters_of_both_sides_are_kept(tmp_path):
    part = part_of(graph(tmp_path), ROBOT, "facts.json").write_parameters(tmp_path)
    assert (tmp_path / "learner.yaml").is_file() and (tmp_path / "safety_guard.yaml").is_file()
    assert "learner" not in [spec.name for spec in part.nodes]


# -- what both must agree on


def test_what_is_given_alike_agrees_whatever_the_folders(tmp_path):
    a = facts(tmp_path / "a", ROBOT)
    assert compare(a, json.loads(json.dumps(facts(tmp_path / "b", WORKSTATION))), ROBOT) is None


def test_what_concerns_one_side_alone_is_its_own(tmp_path):
    a = facts(tmp_path, ROBOT, ["safety_guard.max_speed=0.3"])
    b = facts(tmp_path, WORKSTATION, ["learner.first_ratings=33", "vlm_rater.teacher=scripted"])
    assert compare(a, b, WORKSTATION) is None


@pytest.mark.parametrize(
    "given, parameter, values",
    [
        ({"seed": 4}, "seed", ("4", "0")),
        ({"task": "sweep_into"}, "task.name", ("sweep_into", "drawer_open")),
        ({"overrides": ["policy_controller.max_steps=500"]}, "monitor.max_steps", ("500",)),
        ({"overrides": ["monitor.forbidden_boxes=[0,0,0,1,1,1]"]}, "monitor.forbidden_boxes", ("1",)),
    ],
)
def test_a_difference_is_named_with_both_values(tmp_path, given, parameter, values):
    error = compare(facts(tmp_path, WORKSTATION, **given), facts(tmp_path, ROBOT), WORKSTATION)
    assert (error.code, error.parameter) == (Code.DOES_NOT_FIT, parameter), str(error)
    assert all(value in str(error) for value in values)


def test_another_robot_and_another_file_format_are_named(tmp_path):
    a, b = facts(tmp_path, ROBOT), facts(tmp_path, WORKSTATION)
    b["values"]["robot.name"] = "fr3"
    assert compare(a, b, ROBOT).parameter == "robot.name"
    assert compare(a, {**b, "schema": 99}, ROBOT).code is Code.OTHER_VERSION


def test_a_world_of_ones_own_can_be_told_as_json(tmp_path):
    for task in ("metaworld/drawer-open-v3", "examples/scenes/push_button.yaml"):
        try:
            found = load_task(task)
        except ConfigError:
            continue  # not in this checkout
        whole = graph(tmp_path)
        assert json.dumps(facts_of(whole, found, None, {}))


# -- who gives way


def test_the_later_one_gives_way_and_of_two_at_once_the_workstation():
    assert gives_way(ROBOT, 1.0, 9.0) and not gives_way(WORKSTATION, 9.0, 1.0)
    assert gives_way(WORKSTATION, 5.2, 5.0) and not gives_way(ROBOT, 5.0, 5.2)


def meet(one, other, now):
    for speaker, listener in ((one, other), (other, one)):
        listener.hear_facts(json.loads(json.dumps(speaker.introduction())))
        listener.hear(json.loads(json.dumps(speaker.alive(now))), now)


def sides(tmp_path, **more):
    robot = Meeting(ROBOT, facts(tmp_path, ROBOT), "r1", "", began=0.0)
    return robot, Meeting(WORKSTATION, facts(tmp_path, WORKSTATION, **more), "w1", "", began=20.0)


def test_two_that_agree_meet(tmp_path):
    robot, workstation = sides(tmp_path)
    assert not robot.met(20.0, 5.0)
    meet(robot, workstation, 20.0)
    for side in (robot, workstation):
        assert side.problem(20.0, 0) is None and side.met(20.0, 5.0)
        assert not side.met(26.0, 5.0)  # silent since


def test_only_the_later_one_ends(tmp_path):
    robot, workstation = sides(tmp_path, overrides=["learner.observe=images"])
    meet(robot, workstation, 21.0)
    assert robot.problem(21.0, 0) is None
    assert workstation.problem(21.0, 0).code is Code.DOES_NOT_FIT


def test_a_second_robot_side_is_refused_and_one_that_left_is_none(tmp_path):
    robot, _ = sides(tmp_path)
    second = Meeting(ROBOT, robot.facts, "r2", "", began=20.0)
    meet(robot, second, 21.0)
    assert robot.problem(21.0, 0) is None
    assert (second.problem(21.0, 0).parameter, second.problem(21.0, 0).code) == ("side", Code.IN_USE)
    second.hear(robot.alive(22.0, LEAVING), 22.0)
    assert second.problem(22.0, 0) is None


def test_a_robot_with_steps_works_only_with_the_run_that_it_began_with(tmp_path):
    robot, workstation = sides(tmp_path)
    meet(robot, workstation, 21.0)
    assert not robot.pair(21.0, 5.0, steps=0)  # nothing would be lost: any workstation may come
    assert robot.pair(21.0, 5.0, steps=50) and robot.paired == "w1" and not robot.pair(21.0, 5.0, steps=50)
    anew = replace(workstation, begun="w2", began=30.0, token="new", peers={}, _facts={})
    meet(robot, anew, 31.0)
    assert not robot.pair(31.0, 5.0, steps=50) and robot.problem(31.0, 50) is None
    assert anew.problem(31.0, 50).parameter == "run_id" and anew.problem(31.0, 0) is None


# -- what is refused before anything is made


@pytest.mark.parametrize(
    "side, parameter, code",
    [
        (SideOptions("cloud", 3), "side", Code.VALUE),
        (SideOptions(ROBOT), "domain", Code.NOT_GIVEN),
        (SideOptions(ROBOT, 102), "domain", Code.VALUE),
        (SideOptions(ROBOT, -1), "domain", Code.VALUE),
        (SideOptions(BOTH, 3), "domain", Code.DOES_NOT_FIT),
        (SideOptions(BOTH, None, ("10.0.0.2",)), "peer", Code.DOES_NOT_FIT),
        (SideOptions(ROBOT, 3, ("10.0.0.2;10.0.0.3",)), "peer", Code.VALUE),
    ],
)
def test_options_that_are_refused(tmp_path, side, parameter, code):
    with refused(ConfigError, parameter=parameter, code=code):
        prepare_training("train_sim", None, 0, str(tmp_path / "run"), None, None, True, [], side=side)
    assert not (tmp_path / "run").exists()


def test_graphs_and_shells_that_do_not_fit(monkeypatch):
    with refused(ConfigError, parameter="side", code=Code.DOES_NOT_FIT):
        completed(SideOptions(ROBOT, 3), None, "train_offline", DataOptions())
    with refused(ConfigError, parameter="from", code=Code.DOES_NOT_FIT):
        completed(SideOptions(ROBOT, 3), None, "train_sim", DataOptions(before="runs/a"))
    monkeypatch.setenv("ROS_DOMAIN_ID", "4")
    with refused(ConfigError, parameter="domain", code=Code.DOES_NOT_FIT, shows=("3", "4")):
        completed(SideOptions(ROBOT, 3), None, "train_sim", DataOptions())
    assert completed(SideOptions(ROBOT), None, "train_sim", DataOptions()).domain == 4
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    with refused(ConfigError, parameter="ROS_AUTOMATIC_DISCOVERY_RANGE", code=Code.DOES_NOT_FIT):
        completed(SideOptions(ROBOT), None, "train_sim", DataOptions())
    assert completed(SideOptions(ROBOT, None, ("localhost",)), None, "train_sim", DataOptions())


def test_how_the_machines_find_each_other():
    assert discovery(SideOptions()) == {}
    near = discovery(SideOptions(ROBOT, 7))
    assert near == {"ROS_DOMAIN_ID": "7", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    assert discovery(SideOptions(ROBOT, 7, ("10.0.0.2", "lab-pc")))["ROS_STATIC_PEERS"] == "10.0.0.2;lab-pc"
    assert discovery(SideOptions(ROBOT, 7, ("127.0.0.1",)))["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"


def test_a_side_stays_what_it_is_when_it_goes_on(tmp_path, monkeypatch):
    clock = itertools.count(1_700_000_000)
    monkeypatch.setattr("erl_vlm_ros.runs.two_machines.time.time", lambda: float(next(clock)))
    side = SideOptions(ROBOT, 7, ("10.0.0.2",))
    begun = prepare_training("train_sim", None, 3, str(tmp_path / "run"), None, 100, True, [], side=side)
    begun.graph.write_parameters(begun.path / "config")
    begun.close()
    assert [spec.name for spec in begun.graph.nodes][0] == "robot_side"
    assert begun.environment(None)["ROS_DOMAIN_ID"] == "7"
    again = prepare_training("train_sim", None, None, None, str(tmp_path / "run"), None, True, [])
    again.close()
    assert again.side == side and again.graph.node("robot_side").parameters["run_id"] == "drawer_open-seed3"
    assert not [
        key for key in json.loads((tmp_path / "run" / FACTS_FILE).read_text())["facts"]["values"] if "stamp_s" in key
    ]
    first, second = (one.graph.node("sim_bridge").parameters["first_stamp_s"] for one in (begun, again))
    assert 0 < first < second  # the workstation never hears a stamp twice
    with refused(ConfigError, parameter="side", code=Code.DOES_NOT_FIT):
        other = SideOptions(WORKSTATION, 7)
        prepare_training("train_sim", None, None, None, str(tmp_path / "run"), None, True, [], side=other)


def test_what_crosses_the_link_goes_in_small_datagrams_and_raw_images_do_not(tmp_path, monkeypatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)
    robot = part_of(graph(tmp_path), ROBOT, "facts.json")
    link = {value for _, value in robot.node("policy_controller").environment}
    assert all(value.endswith("fastdds_link.xml") for value in link) and link
    assert not robot.node("sim_bridge").environment
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert not part_of(graph(tmp_path), ROBOT, "facts.json").node("policy_controller").environment
