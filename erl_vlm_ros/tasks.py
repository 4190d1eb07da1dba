# SPDX-License-Identifier: Apache-2.0
"""Task files: the sentence, the classes a rater may answer, the workspace and the episode."""

from __future__ import annotations

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
            raise ConfigError(
                f"{self.path}: no classes described for n={n} (described: {have}); add classes.{n}"
            )
        return [c.name for c in self.classes[n]]


_REQUIRED = {"name", "instruction", "focus", "classes", "n_classes", "goal", "workspace"}
_OPTIONAL = {"use_gripper", "linear_speed", "control_hz", "episode_steps", "parameters"}


def task_names() -> list[str]:
    """Names of the shipped task files."""
    return sorted(p.stem for p in resource("config/tasks").glob("*.yaml"))


def load_task(name_or_path: str | Path) -> Task:
    """Read a shipped task by name, or any task file by path.

    Raises:
        ConfigError: unknown task, unknown or missing key, wrong type or length; names the file and the key.
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
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    return parse_task(raw, str(path))


def parse_task(raw: Any, path: str) -> Task:
    """Check a task's mapping and build the Task; ``path`` is only used in messages."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of task keys")
    unknown = set(raw) - _REQUIRED - _OPTIONAL
    missing = _REQUIRED - set(raw)
    if unknown:
        raise ConfigError(
            f"{path}: unknown key {', '.join(sorted(map(str, unknown)))}; "
            f"allowed: {', '.join(sorted(_REQUIRED | _OPTIONAL))}"
        )
    if missing:
        raise ConfigError(f"{path}: missing key {', '.join(sorted(missing))}")
    workspace = raw["workspace"]
    if not isinstance(workspace, dict) or set(workspace) != {"min", "max"}:
        raise ConfigError(f"{path}: workspace needs exactly the keys min and max, each [x, y, z] in metres")
    low, high = (
        _vector(workspace["min"], "workspace.min", path),
        _vector(workspace["max"], "workspace.max", path),
    )
    if not all(a < b for a, b in zip(low, high)):
        raise ConfigError(
            f"{path}: workspace.min {list(low)} must be below workspace.max {list(high)} on every axis"
        )
    classes = _classes(raw["classes"], path)
    n_classes = raw["n_classes"]
    if n_classes not in classes:
        raise ConfigError(f"{path}: n_classes is {n_classes} but classes describes {sorted(classes)}")
    return Task(
        name=_text(raw, "name", path),
        instruction=_text(raw, "instruction", path),
        focus=_text(raw, "focus", path),
        classes=classes,
        n_classes=n_classes,
        goal=_vector(raw["goal"], "goal", path),
        workspace_min=low,
        workspace_max=high,
        use_gripper=_typed(raw, "use_gripper", bool, False, path),
        linear_speed=_positive(raw, "linear_speed", 0.5, path),
        control_hz=_positive(raw, "control_hz", 10.0, path),
        episode_steps=int(_positive(raw, "episode_steps", 50, path)),
        parameters=_parameters(raw.get("parameters") or {}, path),
        path=path,
    )


def _classes(raw: Any, path: str) -> dict[int, tuple[RatingClass, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise ConfigError(f"{path}: classes must map a number n to n named classes, worst first")
    out = {}
    for n, entries in raw.items():
        if not isinstance(n, int) or not MIN_CLASSES <= n <= MAX_CLASSES:
            raise ConfigError(
                f"{path}: classes.{n}: n must be a whole number from {MIN_CLASSES} to {MAX_CLASSES}"
            )
        if not isinstance(entries, list) or len(entries) != n:
            raise ConfigError(f"{path}: classes.{n} must list exactly {n} classes, worst first")
        items = []
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict) or set(entry) != {"name", "description"}:
                raise ConfigError(f"{path}: classes.{n}[{i}] needs exactly the keys name and description")
            items.append(RatingClass(str(entry["name"]), str(entry["description"])))
        if len({c.name.lower() for c in items}) != n:
            raise ConfigError(f"{path}: classes.{n} has two classes of the same name")
        out[n] = tuple(items)
    return out


def _vector(value: Any, key: str, path: str) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v) for v in value):
        raise ConfigError(f"{path}: {key} must be three numbers [x, y, z] in metres, got {value!r}")
    return (float(value[0]), float(value[1]), float(value[2]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(raw: dict, key: str, path: str) -> str:
    if not isinstance(raw[key], str) or not raw[key].strip():
        raise ConfigError(f"{path}: {key} must be a non-empty text")
    return raw[key].strip()


def _typed(raw: dict, key: str, kind: type, default: Any, path: str) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind):
        raise ConfigError(f"{path}: {key} must be {kind.__name__}, got {value!r}")
    return value


def _positive(raw: dict, key: str, default: float, path: str) -> float:
    value = raw.get(key, default)
    if not _is_number(value) or value <= 0:
        raise ConfigError(f"{path}: {key} must be a positive number, got {value!r}")
    return value


def _parameters(raw: Any, path: str) -> dict[str, dict[str, Any]]:
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise ConfigError(f"{path}: parameters must map a node name to its parameter overrides")
    return {str(node): dict(values) for node, values in raw.items()}
