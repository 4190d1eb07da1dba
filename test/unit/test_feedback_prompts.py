# SPDX-License-Identifier: Apache-2.0
"""Templates are checked at start; prompts carry task, classes and actions, the rating prompt no image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import load_task, task_names
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.words import action_words, segment_words


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(resource("config/prompts/default"), tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_shipped_prompts_name_task_and_classes(name, n):
    task = load_task(name)
    prompts = load_prompts(task, n)
    assert task.instruction in prompts.analysis(1)
    assert task.focus in prompts.analysis(1)
    rating = prompts.rating(1, "THE ANALYSIS with {braces}")
    assert "THE ANALYSIS with {braces}" in rating
    for text in (rating, prompts.one_stage(1)):
        for entry in task.classes[n]:
            assert f"- {entry.name}: {entry.description}" in text


def test_classes_may_be_told_by_their_names_alone():
    task = load_task("drawer_open")
    prompts = load_prompts(task, 3, described=False)
    for text in (prompts.rating(1, "ANALYSIS"), prompts.one_stage(1)):
        lines = text.splitlines()
        assert all(f"- {entry.name}" in lines and entry.description not in text for entry in task.classes[3])


def test_several_frames_and_their_motion():
    prompts = load_prompts(load_task("drawer_open"), 3)
    text = prompts.analysis(3, "- from image 1 to image 2: up 5.0 cm")
    assert "3 consecutive camera images" in text
    assert "the last image" in text
    assert "up 5.0 cm" in text
    assert "moved like this" not in prompts.analysis(1)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("analysis", "{instruction}", "the task", ["analysis.txt", "missing", "{instruction}"]),
        ("rating", "{analysis}", "", ["rating.txt", "missing", "{analysis}"]),
        ("rating", "{classes}", "{clases}", ["rating.txt:6", "unknown field {clases}"]),
        ("one_stage", "{focus}", "{focus", ["one_stage.txt:2"]),
        ("one_stage", "{focus}", "{focus!r}", ["one_stage.txt:2", "focus"]),
    ],
)
def test_a_wrong_template_is_refused_with_file_line_and_field(folder, file, old, new, words):
    path = folder / f"{file}.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_prompts(load_task("drawer_open"), 5, folder)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_template_or_set_is_refused(folder):
    (folder / "rating.txt").unlink()
    with refused(ConfigError, code=Code.MISSING_FILE, file=folder / "rating.txt"):
        load_prompts(load_task("drawer_open"), 5, folder)
    with refused(ConfigError, code=Code.MISSING_FILE, file="config/prompts/no_such_set"):
        load_prompts(load_task("drawer_open"), 5, "no_such_set")


def test_actions_in_words():
    task = load_task("drawer_open")  # 0.5 m/s at 10 Hz: 5 cm a step
    assert action_words(np.array([1.0, 0.0, -0.5]), task) == "forward 5.0 cm, down 2.5 cm"
    assert action_words(np.array([-2.0, 0.3, 0.0]), task) == "backward 5.0 cm, left 1.5 cm"
    assert action_words(np.zeros(3), task) == "hardly any motion"
    gripper = load_task("pick_place")
    assert action_words(np.array([0.0, -1.0, 0.0, 1.0]), gripper) == "right 5.0 cm, gripper opening"
    assert action_words(np.array([0.0, 0.0, 0.0, -1.0]), gripper) == "hardly any motion, gripper closing"


def test_a_segments_first_action_is_left_out():
    task = load_task("drawer_open")
    actions = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 0, -1.0]])
    assert segment_words(actions, task).splitlines() == [
        "- from image 1 to image 2: up 5.0 cm",
        "- from image 2 to image 3: down 5.0 cm",
    ]
    assert segment_words(actions[:1], task) == ""
