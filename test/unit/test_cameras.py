# SPDX-License-Identifier: Apache-2.0
"""Named cameras: what robot and task files may say, and what follows for a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from erl_vlm_ros.common.cameras import CameraSpec, merged
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.spaces import run_spaces
from erl_vlm_ros.graphs.build import evaluate_sim, train_real, train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.graphs.sros2 import permitted, policy
from erl_vlm_ros.robot.spec import load_robot

TWO = "cameras: [scene, {name: wrist, size: [64, 64]}]\n"
REAL = "cameras:\n- {name: scene, source: 'realsense:12', size: [128, 128], crop: [80, 0, 480, 480]}\n"
REAL += "- {name: wrist, source: 'topic:/wrist/image_raw'}\n"


def task_file(tmp_path: Path, more: str = TWO) -> str:
    text = resource("config/tasks/drawer_open.yaml").read_text().replace("parameters:\n", f"{more}parameters:\n", 1)
    path = tmp_path / "task.yaml"
    path.write_text(text)
    return str(path)


def robot_file(tmp_path: Path, more: str = REAL) -> str:
    path = tmp_path / "robot.yaml"
    path.write_text(resource("config/robots/sim_arm.yaml").read_text() + more)
    return str(path)


def arguments(tmp_path: Path, task: str = "drawer_open", **changes) -> RunArguments:
    return RunArguments(task, tmp_path, headless=True, **changes)


def real(**options) -> RealOptions:
    return RealOptions(**options)


class TestFiles:
    def test_a_task_names_cameras(self, tmp_path):
        scene, wrist = load_task(task_file(tmp_path)).cameras
        assert (scene.name, scene.simulated, scene.real) == ("scene", "scene", False)
        assert (wrist.name, wrist.size) == ("wrist", (64, 64))

    @pytest.mark.parametrize(
        ("text", "parameter"),
        [
            ("cameras: []\n", "cameras"),
            ("cameras: scene\n", "cameras"),
            ("cameras: [scene, scene]\n", "cameras"),
            ("cameras: [{size: [64, 64]}]\n", "cameras[0].name"),
            ("cameras: [Scene]\n", "cameras[0].name"),
            ("cameras: [scene, {name: wrist, size: [64]}]\n", "cameras[1].size"),
            ("cameras: [{name: wrist, size: [8, 8]}]\n", "cameras[0]"),
            ("cameras: [{name: wrist, colour: red}]\n", "cameras[0].colour"),
            ("cameras: [{name: wrist, source: webcam}]\n", "cameras[0]"),
            (f"cameras: [{', '.join(f'c{i}' for i in range(9))}]\n", "cameras"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, parameter):
        with pytest.raises(ConfigError) as error:
            load_task(task_file(tmp_path, text))
        assert error.value.parameter == parameter

    @pytest.mark.parametrize("entry", ["source: 'v4l:/dev/video0'", "source: realsense", "parameters: {rotate: 90}"])
    def test_a_task_opens_no_device(self, tmp_path, entry):
        with pytest.raises(ConfigError) as error:
            load_task(task_file(tmp_path, f"cameras: [{{name: scene, {entry}}}]\n"))
        assert error.value.code is Code.NOT_BY_TASK

    def test_a_robot_says_where_they_are(self, tmp_path):
        scene, wrist = load_robot(robot_file(tmp_path)).cameras
        assert scene.node_parameters()["realsense.serial"] == "12" and scene.node_parameters()["width"] == 128
        assert scene.node_parameters()["crop"] == [80, 0, 480, 480]
        assert wrist.node_parameters()["source"] == "topic" and wrist.real
        video = CameraSpec(name="a", source="v4l:/dev/video2").node_parameters()
        assert (video["source"], video["opencv.source"]) == ("opencv", "/dev/video2")

    @pytest.mark.parametrize("more", ["cameras: [{name: a}, {name: a}]\n", "cameras: [{name: a, size: [1, 1]}]\n"])
    def test_a_robot_file_is_refused(self, tmp_path, more):
        with pytest.raises(ConfigError) as error:
            load_robot(robot_file(tmp_path, more))
        assert error.value.file.endswith("robot.yaml")

    def test_the_task_chooses_among_the_robots(self):
        robot = (CameraSpec(name="a", source="v4l:0", size=(64, 64)), CameraSpec(name="b", source="v4l:1"))
        task = (CameraSpec(name="b", source="sim:wrist", crop=(0, 0, 32, 32)),)
        (found,) = merged(robot, task)
        assert (found.source, found.simulated, found.crop) == ("v4l:1", "wrist", (0, 0, 32, 32))
        assert merged(robot, ()) == robot


class TestGraph:
    def test_in_simulation_the_bridge_renders_them(self, tmp_path):
        graph = train_sim(arguments(tmp_path, task_file(tmp_path)))
        for node in ("sim_bridge", "policy_controller", "learner", "reward_trainer", "monitor"):
            assert graph.node(node).parameters["cameras"] == ["scene", "wrist"], node
        bridge = graph.node("sim_bridge").parameters
        assert bridge["camera_views"] == ["scene", "wrist"] and bridge["camera_sizes"] == [0, 0, 64, 64]
        assert graph.node("policy_controller").parameters["camera_sizes"] == [0, 0, 64, 64]
        assert not graph.notes

    def test_without_cameras_nothing_is_said_of_them(self, tmp_path):
        for spec in train_sim(arguments(tmp_path)).nodes:
            assert all(spec.parameters.get(key) is None for key in ("cameras", "camera_sizes", "camera_views"))
            assert not spec.remappings

    def test_simulated_ones_by_set(self, tmp_path):
        graph = train_sim(arguments(tmp_path, overrides={"learner": {"cameras": ["scene", "top"]}}))
        assert graph.node("sim_bridge").parameters["camera_views"] == ["scene", "top"]

    def test_each_real_camera_has_a_node(self, tmp_path):
        graph = train_real(arguments(tmp_path, robot=robot_file(tmp_path)))
        scene, wrist = graph.node("camera_scene"), graph.node("camera_wrist")
        assert graph.find("camera") is None and scene.executable == "camera"
        assert scene.parameters["realsense.serial"] == "12" and scene.parameters["camera_frame"].startswith("scene")
        assert dict(scene.remappings)["camera/camera/color/image_raw"] == "camera/scene/color/image_raw"
        moved = dict(wrist.remappings)
        assert moved["camera/camera/color/image_raw"] == "/wrist/image_raw"
        assert moved["camera/camera/color/camera_info"] == "/wrist/camera_info"
        assert moved["camera/policy/image_raw"] == "camera/wrist/color/image_raw"
        assert graph.node("safety_guard").parameters["cameras"] == ["scene", "wrist"]
        assert "camera_wrist" in graph.node("monitor").parameters["nodes"]

    def test_parameters_of_one_cameras_node(self, tmp_path):
        settings = {"camera_wrist": {"profile": "320x240x60"}}
        graph = train_real(arguments(tmp_path, robot=robot_file(tmp_path), overrides=settings))
        assert graph.node("camera_wrist").parameters["profile"] == "320x240x60"
        assert graph.node("camera_scene").parameters["profile"] == "640x480x30"
        with pytest.raises(ConfigError):
            train_real(arguments(tmp_path, robot=robot_file(tmp_path), overrides={"camera_wrist": {"speed": 1}}))

    def test_a_simulated_arm_shows_the_real_arms_cameras(self, tmp_path):
        graph = train_real(arguments(tmp_path, robot=robot_file(tmp_path), real=real(use_sim_arm=True)))
        assert graph.node("sim_bridge").parameters["camera_views"] == ["scene", "wrist"]
        assert graph.node("sim_bridge").parameters["camera_sizes"] == [128, 128, 0, 0]

    def test_a_task_takes_one_of_them(self, tmp_path):
        task = task_file(tmp_path, "cameras: [wrist]\n")
        graph = train_real(arguments(tmp_path, task, robot=robot_file(tmp_path)))
        assert graph.find("camera_scene") is None and graph.find("camera_wrist") is not None

    @pytest.mark.parametrize(
        ("more", "parameter"),
        [
            ({"task": "cameras: [scene, top]\n"}, "cameras"),
            ({"overrides": {"learner": {"cameras": ["top"]}}}, "cameras"),
            ({"overrides": {"learner": {"cameras": ["scene", "scene"]}}}, "cameras"),
            ({"real": {"camera": "realsense"}}, "camera"),
            ({"real": {"camera_namespace": "front"}}, "camera_namespace"),
            ({"overrides": {"learner": {"policy_cameras": ["top"]}}}, "learner.policy_cameras"),
            ({"overrides": {"reward_trainer": {"reward_cameras": ["wrist"] * 2}}}, "reward_trainer.reward_cameras"),
            ({"overrides": {"vlm_rater": {"rater_cameras": ["top"]}}}, "vlm_rater.rater_cameras"),
            ({"overrides": {"reward_trainer": {"reward_cameras": ["wrist"]}}}, "learner.policy_cameras"),
            (
                {"overrides": {"reward_trainer": {"reward_model": "erl_vlm", "reward_cameras": ["scene", "wrist"]}}},
                "reward_trainer.reward_cameras",
            ),
            ({"real": {"standin_vlm": True}, "overrides": {"vlm_rater": {"rater_cameras": ["wrist"]}}},
             "vlm_rater.rater_cameras"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_its_parameter(self, tmp_path, more, parameter):
        task = task_file(tmp_path, more["task"]) if "task" in more else "drawer_open"
        with pytest.raises(ConfigError) as error:
            train_real(
                arguments(
                    tmp_path, task, robot=robot_file(tmp_path), overrides=more.get("overrides", {}),
                    real=real(**more.get("real", {})),
                )
            )  # fmt: skip
        assert error.value.parameter == parameter

    def test_choices_need_names(self, tmp_path):
        with pytest.raises(ConfigError) as error:
            train_sim(arguments(tmp_path, overrides={"learner": {"policy_cameras": ["scene"]}}))
        assert error.value.parameter == "learner.policy_cameras"

    def test_a_run_with_cameras_is_continued_and_evaluated(self, tmp_path):
        task = task_file(tmp_path)
        (tmp_path / "config").mkdir()
        train_sim(arguments(tmp_path, task)).write_parameters(tmp_path / "config")
        for graph in (train_sim(arguments(tmp_path, task, source=tmp_path)), evaluate_sim(
            arguments(tmp_path / "evaluation", task, source=tmp_path))):  # fmt: skip
            assert graph.node("sim_bridge").parameters["camera_views"] == ["scene", "wrist"]
            assert graph.node("policy_controller").parameters["cameras"] == ["scene", "wrist"]

    def test_sros2_permits_their_topics(self, tmp_path):
        graph = train_real(arguments(tmp_path, robot=robot_file(tmp_path)))
        rules = permitted(policy([spec for spec in graph.nodes if spec.ros]))
        assert "/camera/wrist/color/image_raw" in rules["/camera_wrist"]["publish"]
        assert "/wrist/image_raw" in rules["/camera_wrist"]["subscribe"]
        assert "/camera/wrist/color/image_raw" in rules["/policy_controller"]["subscribe"]


def test_the_spaces_name_them():
    values = {"joint_names": 6, "gripper_joints": None, "gripper_max": 0.08, "observe": "images", "image_size": 96}
    task = load_task("drawer_open")
    plain = run_spaces(values, task)
    two = run_spaces({**values, "cameras": ["scene", "wrist"]}, task)
    assert plain.observation.cameras == () and two.observation.cameras == ("scene", "wrist")
    assert [part.shape for part in two.observation.images] == [(96, 96)] * 2
    assert two.observation.size == plain.observation.size
    plain.require_in(two, "more than is needed")
    for held in (plain, run_spaces({**values, "cameras": ["wrist", "scene"], "image_size": 64}, task)):
        with pytest.raises(ValueError):
            two.require_in(held, "other cameras")
    assert type(two).from_json(two.to_json()) == two
