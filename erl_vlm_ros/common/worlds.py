# SPDX-License-Identifier: Apache-2.0
"""Tasks of other simulated worlds by name: ``WORLD/SCENE`` and ``WORLD/SCENE-paper``, out of ``config/worlds/WORLD``.

The folder holds robot.yaml (the world's arm, if it has one), sentences.yaml (scene -> sentence: all scenes there are),
a file for each scene that has a text of its own, and any.yaml for the others.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.yaml_file import read_yaml

PAPER = "-paper"  # the set-up of a paper's released code: fixed placements


def world_names() -> list[str]:
    """The worlds that are described here; their packages may not be installed."""
    return sorted(path.parent.name for path in resource("config/worlds").glob("*/sentences.yaml"))


def world_of(task_name: str) -> str:
    """The world that a task's name begins with; empty: none."""
    world, slash, _ = task_name.partition("/")
    return world if slash and world in world_names() else ""


def scene_of(task_name: str) -> tuple[str, bool]:
    """Scene of a task's name, and whether in the paper's set-up."""
    scene = task_name.partition("/")[2]
    return scene.removesuffix(PAPER), scene.endswith(PAPER)


def scene_names(world: str) -> list[str]:
    """All scenes of a world."""
    return sorted(read_yaml(resource(f"config/worlds/{world}/sentences.yaml"))[0])


def robot_of_world(world: str) -> Path:
    """The robot file of a world's arm. ConfigError: the world has none, and the graph cannot play it."""
    folder = resource(f"config/worlds/{world}")
    if not folder.joinpath("robot.yaml").is_file():
        text = (
            f"{world} has no arm, and the graph commands one: its tasks are learned in one process, by "
            "benchmarks/papers.py language or training/local.py (docs/papers.md)"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task")
    return folder.joinpath("robot.yaml")


def world_task(name: str) -> tuple[str, Path]:
    """Text of the task file of ``WORLD/SCENE`` or ``WORLD/SCENE-paper``, and the file that it was made from.

    Raises:
        ConfigError: the world has no such scene.
    """
    world, (scene, _) = world_of(name), scene_of(name)
    sentences = read_yaml(resource(f"config/worlds/{world}/sentences.yaml"))[0]
    if scene not in sentences:
        near = difflib.get_close_matches(scene, sentences, 1)
        hint = f" (did you mean '{world}/{near[0]}'?)" if near else ""
        text = f"{world} has no task '{scene}'{hint}; it has {', '.join(sentences)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="task")
    own = resource(f"config/worlds/{world}").joinpath(f"{scene}.yaml")
    path = own if own.is_file() else resource(f"config/worlds/{world}/any.yaml")
    text = path.read_text(encoding="utf-8").replace("SENTENCE", sentences[scene])
    line = next(line for line in text.splitlines() if line.startswith("name:"))
    return text.replace(line, f"name: {name}", 1), path
