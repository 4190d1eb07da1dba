# SPDX-License-Identifier: Apache-2.0
"""A scene that a task file brings: expressions, truth out of them, what is refused, and an episode in it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mjcf_arm import write_arm

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.expressions import parse
from erl_vlm_ros.common.tasks import load_task, task_text
from erl_vlm_ros.graphs.build import train_sim
from erl_vlm_ros.graphs.spec import RunArguments
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.env import ArmEnv

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scenes" / "press_lever.yaml"


class World:
    def value(self, name):
        return {"tool": np.array([0.4, 0.0, 0.2]), "width": 0.05, "time": 1.5}[name]

    def look_up(self, kind, name):
        return {"joint": 0.3, "speed": -0.1, "site": np.array([0.4, 0.3, 0.2]), "body": np.zeros(3)}[kind]


def task_file(tmp_path, **changes):
    """The example with keys replaced; ``simulation`` is merged, None takes a key away."""
    shutil.copy(EXAMPLE.with_suffix(".xml"), tmp_path)
    raw = yaml.safe_load(EXAMPLE.read_text())
    changes["simulation"] = {**raw["simulation"], **changes.get("simulation", {})}
    raw = {key: value for key, value in {**raw, **changes}.items() if value is not None}
    raw["simulation"] = {key: value for key, value in raw["simulation"].items() if value is not None}
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("distance(tool, site('a'))", 0.3),
        ("tool[2] - site('a')[1] * 2", -0.4),
        ("clip(joint('j') / 0.2, 0, 1)", 1.0),
        ("0.1 < joint('j') <= 0.3 and not width > 0.06", 1.0),
        ("0.1 < joint('j') < 0.3 or speed('j') > 0", 0.0),
        ("max(1, 2, 3) if time > 1 else 0", 3.0),
        ("exp(-abs(speed('j')) / 0.1)", math.exp(-1)),
        ("distance(tool - site('a'), body('b'))", 0.3),
    ],
)
def test_expressions_are_computed(text, value):
    assert parse(text)(World()) == pytest.approx(value)


@pytest.mark.parametrize("text", ["1 / 0", "tool", "sqrt(-1) / 0", "1 if tool > 0 else 0"])
def test_what_cannot_be_computed_is_no_number(text):
    assert math.isnan(parse(text)(World()))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "open('x')", "joint('a').real", "[x for x in ()]", "lambda: 0",
        "9 ** 9 ** 9",
        "f'{1}'", "joint", "joint(1)", "joint('a', 'b')", "joint(name='a')", "tool[3]", "tool[0:2]", "unknown",
        "(1, 2)",
        "'text'", "1 == 1", "clip(1)", "distance(tool)", "", "x := 1", "not", "-" * 60 + "1", "1" + " + 1" * 200,
        "tool[True]",
        "print(1)", "exp(exp)", "None",
    ],
)  # fmt: skip
def test_all_else_is_refused_and_never_run(text):
    with pytest.raises(ValueError):
        parse(text)


@given(st.text(max_size=40) | st.from_regex(r"[a-z0-9 ().,'<>+*/\-\[\]]{0,40}", fullmatch=True))
def test_any_text_is_an_expression_or_is_refused(text):
    try:
        value = parse(text)(World())
    except ValueError:
        return
    assert isinstance(value, float)


def test_names_are_known_before_it_is_computed():
    assert parse("joint('a') + speed('a') + joint('a')").names == (("joint", "a"), ("speed", "a"))


def pressed(arm: SimArm, seed: int) -> dict[str, float]:
    arm.reset(seed)
    for _ in range(arm.config.episode_steps):
        state = arm.state()
        knob, tool = state.object_position, state.ee_position
        over = np.linalg.norm((tool - knob)[:2]) < 0.015
        aim = knob + (0.0, 0.0, -0.06 if over else 0.05)
        arm.apply(np.clip(6.0 * (aim - tool), -0.5, 0.5), 0.0)
    return arm.truth()


@pytest.mark.parametrize("other_arm", [False, True])
def test_the_example_can_be_done_and_its_truth_says_so(tmp_path, other_arm):
    robot = load_robot(write_arm(tmp_path)) if other_arm else None
    arm = SimArm(load_task(EXAMPLE), (64, 64), robot)
    arm.reset(1)
    before = arm.truth()
    assert (
        before["success"] == 0.0 and before["class_3"] == before["class_5"] == 0.0 and 0.0 <= before["progress"] < 0.3
    )
    after = pressed(arm, 1)
    assert after["success"] == 1.0 and after["progress"] > 0.9
    assert [after[f"class_{n}"] for n in (2, 3, 4, 5)] == [1.0, 2.0, 3.0, 4.0]
    kinematics = Kinematics.from_text(arm.urdf("base_link", "tool0"), "base_link", "tool0")
    np.testing.assert_allclose(kinematics.forward(arm.joint_positions)[0], arm.ee_position, atol=1e-8)
    assert arm.render().std() > 10
    arm.close()


def test_things_begin_at_random_and_the_same_seed_begins_alike():
    arm = SimArm(load_task(EXAMPLE), (64, 64))
    places = []
    for seed in (1, 2, 1):
        arm.reset(seed)
        places.append(np.concatenate([arm.object_position, arm.ee_position]))
    assert np.array_equal(places[0], places[2]) and not np.allclose(places[0], places[1])
    assert np.all(places[0][3:] > (0.35, -0.13, 0.21)) and np.all(places[0][3:] < (0.47, 0.13, 0.28))


def test_200_steps_as_an_environment_with_the_classes_that_the_file_describes():
    env = ArmEnv(str(EXAMPLE), reward="dense", image_size=64)
    observation, info = env.reset(seed=3)
    assert observation.shape == env.observation_space.shape and "class_3" in info
    rng, seen = np.random.default_rng(0), set()
    for step in range(200):
        observation, reward, _, _, info = env.step(rng.uniform(-1, 1, env.action_space.shape))
        assert np.isfinite(observation).all() and 0.0 <= reward <= 1.0
        seen.add(info["class_3"])
        if step % 50 == 49:
            env.reset()
    assert len(seen) > 1
    env.close()


def test_without_a_tracked_object_and_without_classes(tmp_path):
    path = task_file(tmp_path, observation={"object": "none"}, simulation={"object": None, "classes": None})
    arm = SimArm(load_task(path), (64, 64))
    arm.reset(0)
    assert arm.observe().object_position is None
    truth = arm.truth()
    assert truth["class_3"] == min(int(truth["progress"] * 2), 1)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"scene": "none.xml"}, "scene"),
        ({"scene": None}, "scene"),
        ({"simulation": {"success": None}}, "simulation"),
        ({"simulation": {"progres": "1"}}, "simulation.progres"),
        ({"simulation": {"success": "import os"}}, "simulation.success"),
        ({"simulation": {"progress": True}}, "simulation.progress"),
        ({"simulation": {"classes": {3: ["1"]}}}, "simulation.classes.3"),
        ({"simulation": {"classes": {7: ["1"] * 6}}}, "simulation.classes.7"),
        ({"simulation": {"object": None}}, "simulation.object"),
        ({"simulation": {"place": {"stand": {"min": [0, 0, 0]}}}}, "simulation.place.stand"),
        ({"simulation": {"start": {"min": [1, 0, 0], "max": [0, 0, 0]}}}, "simulation.start"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(changes, key, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_task(task_file(tmp_path, **changes))
    assert error.value.parameter == key and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("simulation", "key"),
    [
        ({"success": "joint('leaver') > 0"}, "simulation.success"),
        ({"object": "nob"}, "simulation.object"),
        ({"place": {"desk": {"min": [0, 0, 0], "max": [0, 0, 0]}}}, "simulation.place.desk"),
    ],
)
def test_a_name_that_the_scene_lacks_is_refused_when_it_is_built(simulation, key, tmp_path):
    with pytest.raises(ConfigError) as error:
        SimArm(load_task(task_file(tmp_path, simulation=simulation)), (64, 64))
    assert error.value.parameter == key


def test_a_scene_that_is_none_is_refused(tmp_path):
    path = task_file(tmp_path)
    for text in ("<mujoco><worldbody/></mujoco>", "<mujoco", "no xml"):
        (tmp_path / "press_lever.xml").write_text(text)
        with pytest.raises(ConfigError) as error:
            SimArm(load_task(path), (64, 64))
        assert error.value.parameter == "scene"


def test_a_copy_of_the_file_elsewhere_still_finds_the_scene(tmp_path):
    (tmp_path / "run").mkdir()
    copy = tmp_path / "run" / "task.yaml"
    copy.write_text(task_text(EXAMPLE))
    assert load_task(copy).scene == load_task(EXAMPLE).scene
    graph = train_sim(RunArguments(str(copy), tmp_path / "run", headless=True))
    assert graph.node("sim_bridge").parameters["task"] == str(copy)
