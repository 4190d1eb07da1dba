# SPDX-License-Identifier: Apache-2.0
"""The real arm's graphs: what stands where, under which names, and what is refused."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from refusals import refused

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import load_run
from erl_vlm_ros.graphs.build import STANDIN, evaluate_real, train_real, train_sim
from erl_vlm_ros.graphs.companions import RECORDED, companions, needs_urdf, recorder
from erl_vlm_ros.graphs.real import URDF_FILE, camera_parameters
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.params.layers import parse_overrides, read_parameter_file
from erl_vlm_ros.runs.session import prepare_training

LEARNING = {"learner", "vlm_rater", "reward_trainer", "monitor"}


@pytest.fixture
def graph(tmp_path):
    def make(build=train_real, overrides=(), **options):
        arguments = RunArguments(
            "drawer_open", tmp_path, headless=True, overrides=parse_overrides(overrides), real=RealOptions(**options)
        )
        return build(arguments)

    return make


def nodes(graph):
    return {spec.name for spec in graph.nodes}


def test_what_runs_on_a_real_arm(graph):
    found = graph(camera="opencv:/dev/video2", adapter="joint_velocity")
    assert nodes(found) == {"camera", "safety_guard", "guard_watchdog", "policy_controller"} | LEARNING
    assert found.node("camera").parameters["source"] == "opencv"
    assert found.node("camera").parameters["opencv.source"] == "/dev/video2"
    assert found.node("safety_guard").parameters["adapter"] == "joint_velocity"
    controller = found.node("policy_controller").parameters
    assert not controller["auto_arm"] and not controller["lock_step"] and controller["reset"] == "person"
    for spec in found.nodes:
        assert spec.parameters.get("lock_step", False) is False
        assert spec.parameters.get("reliable_sensors", False) is False


def test_the_simulated_arm_takes_the_place_of_driver_and_camera(graph, tmp_path):
    found = graph(use_sim_arm=True, adapter="joint_trajectory", auto_arm=True)
    assert nodes(found) == {"sim_bridge", "safety_guard", "policy_controller"} | LEARNING
    assert found.node("sim_bridge").parameters["adapter"] == "joint_trajectory"
    assert found.node("sim_bridge").parameters["lock_step"] is False
    assert found.node("safety_guard").parameters["urdf_file"] == str(tmp_path / URDF_FILE)
    controller = found.node("policy_controller").parameters
    assert controller["auto_arm"] and controller["reset"] == "service" and controller["set_episode_seed"]


@pytest.mark.parametrize("build", [train_real, evaluate_real])
@pytest.mark.parametrize(
    "adapter, use, there",
    [
        ("joint_velocity", "auto", True),
        ("joint_velocity", "off", False),
        ("servo_twist", "auto", False),
        ("servo_twist", "required", True),
        ("joint_position", "auto", False),
    ],
)
def test_a_watchdog_stands_beside_a_guard_whose_driver_obeys_for_ever(graph, build, adapter, use, there):
    found = graph(build, [f"safety_guard.watchdog.use={use}"], adapter=adapter, namespace="lab", robot_namespace="cell")
    assert ("guard_watchdog" in nodes(found)) == there
    if there:
        watchdog, guard = found.node("guard_watchdog"), found.node("safety_guard")
        assert watchdog.parameters["adapter"] == adapter and watchdog.role == guard.role
        assert watchdog.namespace == guard.namespace == "lab"
        assert (names.ARM_JOINT_COMMANDS, f"/cell/{names.ARM_JOINT_COMMANDS}") in watchdog.remappings
        assert "guard_watchdog" in found.node("monitor").parameters["nodes"]


def test_a_watchdog_that_could_do_nothing_is_refused(graph):
    with refused(ConfigError, parameter="guard_watchdog.watchdog.use", code=Code.DOES_NOT_FIT):
        graph(overrides=["safety_guard.watchdog.use=required"], adapter="joint_position")


def test_the_stand_in_rates_only_when_asked_for(graph):
    assert STANDIN not in nodes(graph(use_sim_arm=True))
    found = graph(use_sim_arm=True, standin_vlm=True)
    assert found.node("vlm_rater").after == STANDIN
    assert found.node("vlm_rater").parameters["base_url"].startswith("http://127.0.0.1:")


def test_evaluation_has_no_learner(graph):
    found = graph(evaluate_real, use_sim_arm=True)
    assert nodes(found) == {"sim_bridge", "safety_guard", "policy_controller", "monitor"}
    assert found.node("policy_controller").parameters["mode"] == "evaluate"
    assert nodes(graph(evaluate_real)) == {"camera", "safety_guard", "policy_controller", "monitor"}


def test_a_drivers_camera_is_read_once_and_the_others_see_what_became_of_it(graph):
    found = graph(camera="topic", camera_namespace="cell")
    wanted = (names.IMAGE, "camera/policy/image_raw")
    for node in ("policy_controller", "monitor", "safety_guard"):
        assert wanted in found.node(node).remappings
    assert (names.IMAGE, f"/cell/{names.IMAGE}") in found.node("camera").remappings
    own = graph(camera="realsense")
    assert not own.node("policy_controller").remappings


def test_namespaces(graph, tmp_path):
    found = graph(namespace="lab/left", robot_namespace="ur5", reset_service="/cell/reset")
    for spec in found.nodes:
        assert spec.namespace == "lab/left"
        assert "__ns:=/lab/left" in spec.command()
    for node in ("safety_guard", "policy_controller"):
        moved = dict(found.node(node).remappings)
        assert moved[names.JOINT_STATES] == "/ur5/joint_states"
        assert moved[names.ARM_TWIST] == f"/ur5/{names.ARM_TWIST}"
        assert moved[names.RESET] == "/cell/reset"
    only = ((names.ROBOT_DESCRIPTION, "/ur5/robot_description"),)  # for the joints, without a robot file
    assert found.node("learner").remappings == only and not found.node("vlm_rater").remappings
    (tmp_path / "config").mkdir()
    found.write_parameters(tmp_path / "config")
    text = (tmp_path / "config" / "learner.yaml").read_text()
    assert text.startswith("/lab/left/learner:")
    assert "learner" in read_parameter_file(tmp_path / "config" / "learner.yaml")  # a resumed run reads it


@pytest.mark.parametrize(
    ("options", "overrides", "fields"),
    [
        ({"auto_arm": True}, [], {"parameter": "auto_arm", "code": Code.DOES_NOT_FIT, "shows": "use_sim_arm"}),
        ({}, ["policy_controller.auto_arm=true"], {"parameter": "policy_controller.auto_arm"}),
        ({"camera": "webcam"}, [], {"parameter": "camera"}),
        ({"camera": "topic:3"}, [], {"parameter": "camera", "shows": "topic:3"}),
        ({"adapter": "telepathy"}, [], {"parameter": "safety_guard.adapter"}),
        ({"use_sim_arm": True, "adapter": "telepathy"}, [], {"parameter": "safety_guard.adapter"}),
        (
            {"use_sim_arm": True, "camera": "opencv"},
            [],
            {"parameter": "camera", "code": Code.DOES_NOT_FIT, "shows": "use_sim_arm"},
        ),
        ({"namespace": "/lab"}, [], {"parameter": "namespace"}),
        ({"robot_namespace": "a b"}, [], {"parameter": "robot_namespace"}),
        (
            {"standin_vlm": True},
            ["vlm_rater.base_url=http://x/v1"],
            {"parameter": "vlm_rater.base_url", "code": Code.DOES_NOT_FIT},
        ),
    ],
)
def test_what_does_not_go_together_is_refused(graph, options, overrides, fields):
    with refused(ConfigError, **fields):
        graph(overrides=overrides, **options)


def test_camera_texts():
    assert camera_parameters("") == {}
    assert camera_parameters("topic") == {"source": "topic"}
    assert camera_parameters("realsense:0123") == {"source": "realsense", "realsense.serial": "0123"}
    assert camera_parameters("realsense:/a/b.bag") == {"source": "realsense", "realsense.file": "/a/b.bag"}
    stream = "rtsp://user:pw@host:554/x"
    assert camera_parameters(f"opencv:{stream}")["opencv.source"] == stream


def test_a_run_is_continued_on_what_it_began_on(tmp_path):
    pytest.importorskip("mujoco")
    options = RealOptions(use_sim_arm=True, standin_vlm=True, adapter="joint_velocity")

    def prepare(**more):
        values = {
            "task": "drawer_open", "seed": 1, "out": str(tmp_path / "run"), "resume": None, "max_steps": 100,
            "headless": True, "settings": [], "real": options,
        }  # fmt: skip
        prepared = prepare_training("train_real", **{**values, **more})
        prepared.graph.write_parameters(prepared.path / "config")
        prepared.close()
        return prepared

    first = prepare()
    assert first.simulated and "arms the guard" in first.announcement
    assert "<robot" in (first.path / URDF_FILE).read_text()
    assert load_run(first.path)["real"] == asdict(options)
    again = prepare(task=None, seed=None, out=None, resume=str(first.path), real=None)
    assert again.graph.node("sim_bridge").parameters["adapter"] == "joint_velocity"
    with refused(ConfigError, parameter="graph", code=Code.DOES_NOT_FIT, file=tmp_path / "run", shows="train_real"):
        prepare_training(
            "train_sim", task=None, seed=None, out=None, resume=str(first.path), max_steps=None, headless=True,
            settings=[],
        )  # fmt: skip
    with refused(ConfigError, parameter="use_sim_arm", code=Code.DOES_NOT_FIT):
        prepare_training(
            "train_sim", task=None, seed=None, out=str(tmp_path / "x"), resume=None, max_steps=None, headless=True,
            settings=[], real=options,
        )  # fmt: skip


def test_companions(graph, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / URDF_FILE).write_text("<robot/>")
    sim = graph(use_sim_arm=True, robot_namespace="ur5", namespace="lab")
    publisher, bag = companions(sim, tmp_path, rviz=False, record=True)
    assert publisher.package == "robot_state_publisher" and publisher.namespace == "lab"
    assert publisher.parameters == {"robot_description": "<robot/>"}
    assert (names.JOINT_STATES, "/ur5/joint_states") in publisher.remappings
    topics = bag.command[bag.command.index("--topics") + 1 :]
    assert len(topics) == len(RECORDED) and all(topic.startswith("/") for topic in topics)
    assert "/ur5/joint_states" in topics and f"/lab/{names.TRANSITIONS}" in topics and "/diagnostics" in topics
    assert names.IMAGE not in RECORDED and names.REWARD_MODEL not in RECORDED
    assert str(tmp_path / "bag") in bag.command
    (tmp_path / "bag").mkdir()
    assert str(tmp_path / "bag-2") in recorder(sim, tmp_path)
    real = graph()
    assert companions(real, tmp_path, rviz=False, record=False) == [] and not needs_urdf(real, True)
    simulated = train_sim(RunArguments("drawer_open", tmp_path, headless=True))
    assert needs_urdf(simulated, True) and not needs_urdf(simulated, False)
