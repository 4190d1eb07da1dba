# SPDX-License-Identifier: Apache-2.0
"""Task files: the sentence, the classes a rater may answer, the workspace and the episode.

What is wrong in a file is refused with the file, the line and the key.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.paths import resource

MIN_CLASSES, MAX_CLASSES = 2, 5


@dataclass(frozen=True)
class RatingClass:
    """One answer a rater may give, worst class first in its list."""

    name: str
    description: str


@dataclass(frozen=True)
class Task:
    """A task as written in ``config/tasks/NAME.yaml``. Lengths in metres, base frame; speeds in m/s."""

    name: str
    instruction: str
    focus: str  # what the analysis stage should look at
    classes: dict[int, tuple[RatingClass, ...]]  # n -> its classes, worst first
    n_classes: int  # the n this task is rated with by default
    goal: tuple[float, float, float]
    workspace_min: tuple[float, float, float]
    workspace_max: tuple[float, float, float]
    use_gripper: bool = False
    linear_speed: float = 0.5
    control_hz: float = 10.0
    episode_steps: int = 50
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)  # node -> parameter overrides
    path: str = ""

    @property
    def action_dim(self) -> int:
        """3 (end-effector velocity), or 4 with the gripper."""
        return 4 if self.use_gripper else 3

    def class_names(self, n: int) -> list[str]:
        """Names of the n classes, worst first. ConfigError when the task file does not describe n classes."""
        if n not in self.classes:
            have = sorted(self.classes)
            raise ConfigError(f"{self.path}: no classes described for n={n} (described: {have}); add classes.{n}")
        return [c.name for c in self.classes[n]]


_REQUIRED = {"name", "instruction", "focus", "classes", "n_classes", "goal", "workspace"}
_OPTIONAL = {"use_gripper", "linear_speed", "control_hz", "episode_steps", "parameters"}


def task_names() -> list[str]:
    """Names of the shipped task files."""
    return sorted(p.stem for p in resource("config/tasks").glob("*.yaml"))


def simulated_tasks() -> list[str]:
    """Names of the tasks that have a simulated scene; the others are for a real arm."""
    scenes = {p.stem for p in resource("sim").glob("*.xml")}
    return [name for name in task_names() if name in scenes]


def require_scene(task: Task) -> None:
    """ConfigError when a task cannot be simulated."""
    known = simulated_tasks()
    if task.name not in known:
        raise ConfigError(
            f"{task.path}: task '{task.name}' has no simulated scene (those that have one: {', '.join(known)}); "
            "teach it to a real arm with the graph train_real, or add sim/NAME.xml and a class in sim/tasks.py"
        )


def load_task(name_or_path: str | Path) -> Task:
    """Read a shipped task by name, or any task file by path.

    Raises:
        ConfigError: unknown task, unknown or missing key, wrong type or length; names the file, line and key.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"task file {path} does not exist")
    else:
        names = task_names()
        if str(name_or_path) not in names:
            raise ConfigError(
                f"unknown task '{name_or_path}'; known: {', '.join(names)}, or give a path to a task YAML"
            )
        path = resource(f"config/tasks/{name_or_path}.yaml")
    try:
        text = path.read_text(encoding="utf-8")
        raw, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    return parse_task(raw, str(path), root)


class _Place:
    """Names a key of the file, with its line where the YAML nodes are at hand: ``FILE:12: classes.3[1]``."""

    def __init__(self, path: str, root: yaml.Node | None) -> None:
        self.path, self._root = path, root

    def __call__(self, *keys: Any) -> str:
        dotted = "".join(f"[{k}]" if isinstance(k, _Index) else f".{k}" for k in keys).lstrip(".")
        line = self._line(keys)
        return f"{self.path}{'' if line is None else f':{line}'}: {dotted}"

    def _line(self, keys: tuple[Any, ...]) -> int | None:
        """Line of the innermost of ``keys`` that is there, counted from 1."""
        node, line = self._root, None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                found = [(k, v) for k, v in node.value if k.value == str(key)]
                if not found:
                    break
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
            else:
                break
        return line


class _Index(int):
    """A place in a list, told apart from the n of ``classes.n``."""


def parse_task(raw: Any, path: str, root: yaml.Node | None = None) -> Task:
    """Check a task's mapping and build the Task; ``path`` and ``root`` (its YAML nodes) are for messages."""
    place = _Place(path, root)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of task keys")
    unknown = sorted(set(raw) - _REQUIRED - _OPTIONAL, key=str)
    missing = _REQUIRED - set(raw)
    if unknown:
        raise ConfigError(f"{place(unknown[0])}: unknown key; allowed: {', '.join(sorted(_REQUIRED | _OPTIONAL))}")
    if missing:
        raise ConfigError(f"{path}: missing key {', '.join(sorted(missing))}")
    workspace = raw["workspace"]
    if not isinstance(workspace, dict) or set(workspace) != {"min", "max"}:
        raise ConfigError(f"{place('workspace')} needs exactly the keys min and max, each [x, y, z] in metres")
    low = _vector(workspace["min"], place("workspace", "min"))
    high = _vector(workspace["max"], place("workspace", "max"))
    if not all(a < b for a, b in zip(low, high)):
        raise ConfigError(
            f"{place('workspace', 'min')} {list(low)} must be below workspace.max {list(high)} on every axis"
        )
    classes = _classes(raw["classes"], place)
    n_classes = raw["n_classes"]
    if isinstance(n_classes, bool) or n_classes not in classes:
        raise ConfigError(f"{place('n_classes')} is {n_classes} but classes describes {sorted(classes)}")
    return Task(
        name=_text(raw, "name", place),
        instruction=_text(raw, "instruction", place),
        focus=_text(raw, "focus", place),
        classes=classes,
        n_classes=n_classes,
        goal=_vector(raw["goal"], place("goal")),
        workspace_min=low,
        workspace_max=high,
        use_gripper=_typed(raw, "use_gripper", bool, False, place),
        linear_speed=_positive(raw, "linear_speed", 0.5, place),
        control_hz=_positive(raw, "control_hz", 10.0, place),
        episode_steps=int(_positive(raw, "episode_steps", 50, place)),
        parameters=_parameters(raw.get("parameters") or {}, place),
        path=path,
    )


def _classes(raw: Any, place: _Place) -> dict[int, tuple[RatingClass, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise ConfigError(f"{place('classes')} must map a number n to n named classes, worst first")
    return {n: _class_list(n, entries, place) for n, entries in raw.items()}


def _class_list(n: Any, entries: Any, place: _Place) -> tuple[RatingClass, ...]:
    here = place("classes", n)
    if not isinstance(n, int) or not MIN_CLASSES <= n <= MAX_CLASSES:
        raise ConfigError(f"{here}: n must be a whole number from {MIN_CLASSES} to {MAX_CLASSES}")
    if not isinstance(entries, list) or len(entries) != n:
        raise ConfigError(f"{here} must list exactly {n} classes, worst first")
    items: list[RatingClass] = []
    for i, entry in enumerate(entries):
        here = place("classes", n, _Index(i))
        if not isinstance(entry, dict) or set(entry) != {"name", "description"}:
            got = f"; got {', '.join(map(str, entry))}" if isinstance(entry, dict) else ""
            raise ConfigError(f"{here} needs exactly the keys name and description{got}")
        name, description = entry["name"], entry["description"]
        if not all(isinstance(v, str) and v.strip() for v in (name, description)):
            raise ConfigError(f"{here}: name and description must be texts; put quotes around yes, no and numbers")
        if "\n" in name.strip() or ":" in name:
            raise ConfigError(f"{here}: name {name!r} must be one line without a colon")
        words = plain_words(name)
        same = [c.name for c in items if plain_words(c.name) == words]
        if same or not words:
            problem = f"two classes are called '{same[0]}'" if same else f"the name {name!r} has no letter or digit"
            raise ConfigError(f"{here}: {problem}; names must differ in their letters or digits")
        items.append(RatingClass(name.strip(), description.strip()))
    return tuple(items)


def plain_words(text: str) -> str:
    """Lower case words with single spaces; punctuation, quotes and markdown removed."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _vector(value: Any, here: str) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v) for v in value):
        raise ConfigError(f"{here} must be three numbers [x, y, z] in metres, got {value!r}")
    return (float(value[0]), float(value[1]), float(value[2]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(raw: dict, key: str, place: _Place) -> str:
    if not isinstance(raw[key], str) or not raw[key].strip():
        raise ConfigError(f"{place(key)} must be a non-empty text")
    return raw[key].strip()


def _typed(raw: dict, key: str, kind: type, default: Any, place: _Place) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind):
        raise ConfigError(f"{place(key)} must be {kind.__name__}, got {value!r}")
    return value


def _positive(raw: dict, key: str, default: float, place: _Place) -> float:
    value = raw.get(key, default)
    if not _is_number(value) or value <= 0:
        raise ConfigError(f"{place(key)} must be a positive number, got {value!r}")
    return value


def _parameters(raw: Any, place: _Place) -> dict[str, dict[str, Any]]:
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise ConfigError(f"{place('parameters')} must map a node name to its parameter overrides")
    return {str(node): dict(values) for node, values in raw.items()}
