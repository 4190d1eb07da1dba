# SPDX-License-Identifier: Apache-2.0
"""Task files: the shipped ones, and what is refused with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task, require_scene, simulated_tasks, task_names

SIMULATED = {"drawer_open", "sweep_into", "pick_place"}
PAPER = {"paper_sweep", "paper_drawer", "paper_soccer", "paper_bowl", "paper_banana"}


def test_ours_and_the_papers_tasks_are_shipped():
    assert set(task_names()) == SIMULATED | PAPER
    assert set(simulated_tasks()) == SIMULATED


@pytest.mark.parametrize("name", sorted(SIMULATED | PAPER))
def test_a_shipped_task_describes_two_to_five_classes(name):
    task = load_task(name)
    assert task.name == name and set(task.classes) == {2, 3, 4, 5}
    for n, classes in task.classes.items():
        assert len({c.description for c in classes}) == n


@pytest.mark.parametrize("name", sorted(PAPER))
def test_the_goal_of_a_real_task_lies_in_its_workspace(name):
    task = load_task(name)
    assert all(low <= goal <= high for low, goal, high in zip(task.workspace_min, task.goal, task.workspace_max))


def test_the_papers_number_of_classes():
    assert [load_task(f"paper_{t}").n_classes for t in ("sweep", "drawer", "soccer")] == [2, 3, 2]


def test_a_task_without_a_scene_says_what_to_do():
    require_scene(load_task("drawer_open"))
    with refused(
        ConfigError,
        parameter="scene",
        code=Code.NOT_GIVEN,
        file=load_task("paper_bowl").path,
        shows=("drawer_open", "train_real"),
    ):
        require_scene(load_task("paper_bowl"))


GOOD = """# a task
name: mine
instruction: do it
focus: it
n_classes: 2
goal: [0.5, 0, 0.1]
workspace: {min: [0, 0, 0], max: [1, 1, 1]}
classes:
  2:
    - {name: Bad, description: not done}
    - {name: Good, description: done}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: Good, description: done", "name: Good", ["mine.yaml:11: classes.2[1]", "description", "got name"]),
        ("name: Good,", "name: Good, weight: 2,", ["mine.yaml:11: classes.2[1]", "weight"]),
        ("name: Good", "name: bad!", ["mine.yaml:11: classes.2[1]", "two classes are called 'Bad'"]),
        ("name: Good", "name: '!'", ["mine.yaml:11: classes.2[1]", "no letter or digit"]),
        ("name: Good", "name: yes", ["mine.yaml:11: classes.2[1]", "quotes"]),
        ("name: Good", "name: 'Good: 1'", ["mine.yaml:11: classes.2[1]", "colon"]),
        ("  2:\n", "  6:\n", ["mine.yaml:9: classes.6", "2 to 5"]),
        ("  2:\n", "  3:\n", ["mine.yaml:9: classes.3", "exactly 3"]),
        ("n_classes: 2", "n_classes: 3", ["mine.yaml:5: n_classes is 3", "[2]"]),
        ("focus: it", "focus: it\ncolour: red", ["mine.yaml:5: colour", "unknown key"]),
        ("focus: it\n", "", ["mine.yaml", "missing key focus"]),
        ("[0.5, 0, 0.1]", "[0.5, .nan, 0.1]", ["mine.yaml:6: goal", "three numbers"]),
        ("max: [1, 1, 1]", "max: [1, 0, 1]", ["mine.yaml:7: workspace.min", "every axis"]),
        ("focus: it", "focus: it\ncontrol_hz: .inf", ["mine.yaml:5: control_hz", "positive"]),
        ("focus: it", "focus: [it", ["mine.yaml:5", "YAML"]),
        ("focus: it", "focus: it\nname: yours", ["mine.yaml:5", "'name' is there twice"]),
        ("focus: it", "focus: it\ncontrol_hz: 1e9", ["mine.yaml:5: control_hz", "1000"]),
        ("focus: it", "focus: it\nlinear_speed: 1e3", ["mine.yaml:5: linear_speed", "10"]),
        ("focus: it", "focus: it\nepisode_steps: 50.5", ["mine.yaml:5: episode_steps", "whole"]),
        ("focus: it", f"focus: it\nepisode_steps: {'9' * 18}", ["mine.yaml:5: episode_steps", "100000"]),
        ("[0.5, 0, 0.1]", "[500, 0, 100]", ["mine.yaml:6: goal", "metres"]),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_key(tmp_path, old, new, words):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_task(path).class_names(2) == ["Bad", "Good"]
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    for word in words:
        assert word in str(caught.value)


def test_unknown_names_and_classes_that_are_not_described():
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="paper_bowl"):
        load_task("dance")
    with refused(ConfigError, parameter="classes.7", code=Code.NOT_GIVEN, file=load_task("drawer_open").path):
        load_task("drawer_open").class_names(7)
    assert Path(load_task("paper_bowl").path).is_file()
