# SPDX-License-Identifier: Apache-2.0
"""Task files: the sentence, the classes a rater may answer, the workspace and the episode.

What is wrong in a file is refused with the file, the line and the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from erl_vlm_ros.common.cameras import CameraSpec, read_task_cameras
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.scene_rules import SceneRules, read_rules
from erl_vlm_ros.common.worlds import world_names, world_of, world_task
from erl_vlm_ros.common.yaml_file import parse_yaml, read_yaml

MIN_CLASSES, MAX_CLASSES = 2, 5
MAX_SPEED = 10.0  # m/s; what an arm may do is the guard's to say
MAX_ANGULAR_SPEED = 10.0  # rad/s
MAX_CONTROL_HZ = 1000.0
MAX_EPISODE_STEPS = 100_000
MAX_LENGTH = 100.0  # m, of goal and workspace: beyond it a unit was mistaken
NONE = "none"
YAW, FULL = "yaw", "full"  # rotation: about the base's z axis, or about all three
CONTINUOUS, BINARY = "continuous", "binary"  # gripper
TRACKED = "tracked"  # object
ROTATIONS, GRIPPERS, OBJECTS = (NONE, YAW, FULL), (NONE, CONTINUOUS, BINARY), (TRACKED, NONE)


@dataclass(frozen=True)
class RatingClass:
    """One answer a rater may give, worst class first in its list."""

    name: str
    description: str


@dataclass(frozen=True)
class Task:
    """A task as written in ``config/tasks/NAME.yaml``. Lengths in metres, base frame; speeds in m/s and rad/s.

    rotation, gripper: what the policy commands beside the linear velocity, of ROTATIONS and GRIPPERS.
    observed_rotation, observed_object: what it sees beside joints, tool position and opening, of ROTATIONS and OBJECTS.
    scene, rules: MJCF file of a simulated scene that comes with the task, and what is true in it.
    cameras: by name; none: the robot's, or one without a name.
    """

    name: str
    instruction: str
    focus: str  # what the analysis stage should look at
    classes: dict[int, tuple[RatingClass, ...]]  # n -> its classes, worst first
    n_classes: int  # the n this task is rated with by default
    goal: tuple[float, float, float]
    workspace_min: tuple[float, float, float]
    workspace_max: tuple[float, float, float]
    rotation: str = NONE
    gripper: str = NONE
    observed_rotation: str = NONE
    observed_object: str = TRACKED
    linear_speed: float = 0.5
    angular_speed: float = 0.5
    control_hz: float = 10.0
    episode_steps: int = 50
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)  # node -> parameter overrides
    path: str = ""
    scene: str = ""
    rules: SceneRules | None = None
    cameras: tuple[CameraSpec, ...] = ()

    @property
    def world(self) -> str:
        """The simulated world (a simulation backend) that the task is of, by its name; empty: one of our own scenes."""
        return world_of(self.name)

    @property
    def use_gripper(self) -> bool:
        """Whether the policy commands a gripper."""
        return self.gripper != NONE

    @property
    def top_angular_speed(self) -> float:
        """Fastest turn that the policy can ask for, rad/s."""
        return self.angular_speed * (math.sqrt(3.0) if self.rotation == FULL else 1.0)

    def class_names(self, n: int) -> list[str]:
        """Names of the n classes, worst first. ConfigError when the task file does not describe n classes."""
        if n not in self.classes:
            have = sorted(self.classes)
            raise ConfigError(f"{self.path}: no classes described for n={n} (described: {have}); add classes.{n}")
        return [c.name for c in self.classes[n]]


_REQUIRED = {"name", "instruction", "focus", "classes", "n_classes", "goal", "workspace"}
_OPTIONAL = {"action", "observation", "linear_speed", "control_hz", "episode_steps", "parameters", "use_gripper"}
_OPTIONAL |= {"scene", "simulation", "cameras"}
_ACTION = {"rotation": ROTATIONS, "gripper": GRIPPERS}  # and angular_speed
_OBSERVATION = {"rotation": ROTATIONS, "object": OBJECTS}


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
    if task.scene:
        return
    if task.name not in known:
        raise ConfigError(
            f"{task.path}: task '{task.name}' has no simulated scene (those that have one: {', '.join(known)}); "
            "teach it to a real arm with the graph train_real, or give it a scene (docs/how_to/add_a_scene.md)"
        )


def load_task(name_or_path: str | Path) -> Task:
    """Read a shipped task by name, a task of another world as ``WORLD/SCENE``, or any task file by path.

    Raises:
        ConfigError: unknown task, unknown or missing key, wrong type or length; names the file, line and key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and world_of(str(name_or_path)):
        text, path = world_task(str(name_or_path))
        return parse_task(*_with_path(parse_yaml(text, str(path)), path))
    path = _file_of(name_or_path)
    return parse_task(*_with_path(read_yaml(path), path))


def task_text(name_or_path: str | Path) -> str:
    """The text of a task's file, as load_task reads it. ConfigError when there is none, or it is no text."""
    if Path(name_or_path).suffix not in (".yaml", ".yml") and world_of(str(name_or_path)):
        return world_task(str(name_or_path))[0]
    path = _file_of(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        scene = load_task(path).scene  # a copy may stand elsewhere
        return re.sub(r"(?m)^scene:.*$", lambda _: f"scene: {json.dumps(scene)}", text) if scene else text
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _with_path(read: tuple[Any, yaml.Node | None], path: Path) -> tuple[Any, str, yaml.Node | None]:
    return read[0], str(path), read[1]


def _file_of(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"task file {path} does not exist")
        return path
    names = task_names()
    if str(name_or_path) not in names:
        worlds = "".join(f", {world}/SCENE" for world in world_names())
        raise ConfigError(
            f"unknown task '{name_or_path}'; known: {', '.join(names)}{worlds}, or give a path to a task YAML"
        )
    return resource(f"config/tasks/{name_or_path}.yaml")


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
    action = _choices(raw, "action", _ACTION, place, {"angular_speed"})
    observation = _choices(raw, "observation", _OBSERVATION, place)
    if "use_gripper" in raw:  # how version 0.1 wrote it
        if "gripper" in action:
            raise ConfigError(f"{place('use_gripper')} and action.gripper say the same; leave use_gripper out")
        action["gripper"] = CONTINUOUS if _typed(raw, "use_gripper", bool, False, place) else NONE
    rotation = action.get("rotation", NONE)
    scene = _scene(raw, path, place)
    observed = observation.get("object", TRACKED)
    if scene and observed == TRACKED and not (raw["simulation"] or {}).get("object"):
        raise ConfigError(
            f"{place('simulation')}: observation.object is tracked: name the site that a tracker would see, "
            "simulation.object, or set observation: {object: none}",
            parameter="simulation.object",
        )
    return Task(
        name=_text(raw, "name", place),
        instruction=_text(raw, "instruction", place),
        focus=_text(raw, "focus", place),
        classes=classes,
        n_classes=n_classes,
        goal=_vector(raw["goal"], place("goal")),
        workspace_min=low,
        workspace_max=high,
        rotation=rotation,
        gripper=action.get("gripper", NONE),
        observed_rotation=observation.get("rotation", rotation),
        observed_object=observed,
        linear_speed=_positive(raw, "linear_speed", 0.5, MAX_SPEED, place),
        angular_speed=_positive(raw.get("action") or {}, "angular_speed", 0.5, MAX_ANGULAR_SPEED, place, "action"),
        control_hz=_positive(raw, "control_hz", 10.0, MAX_CONTROL_HZ, place),
        episode_steps=_whole(raw, "episode_steps", 50, MAX_EPISODE_STEPS, place),
        parameters=_parameters(raw.get("parameters") or {}, place),
        path=path,
        scene=scene,
        rules=read_rules(raw["simulation"], place, _vector) if scene else None,
        cameras=read_task_cameras(raw["cameras"], place) if "cameras" in raw else (),
    )


def _scene(raw: dict, path: str, place: _Place) -> str:
    """The scene's file, relative to the task's. ConfigError: scene without simulation, or the other way."""
    if ("scene" in raw) != ("simulation" in raw):
        missing = "simulation" if "scene" in raw else "scene"
        raise ConfigError(
            f"{place('simulation' if missing == 'scene' else 'scene')}: scene and simulation belong together: the MJCF "
            "file, and what is true in it",
            parameter=missing,
        )
    if "scene" not in raw:
        return ""
    file = Path(path).parent.resolve() / _text(raw, "scene", place)
    if not file.is_file():
        raise ConfigError(f"{place('scene')}: {file} does not exist", parameter="scene", file=str(file))
    return str(file)


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
    if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v) and abs(v) <= MAX_LENGTH for v in value):
        raise ConfigError(f"{here} must be three numbers [x, y, z] in metres, {MAX_LENGTH:g} at most, got {value!r}")
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


def _positive(raw: dict, key: str, default: float, most: float, place: _Place, *above: str) -> float:
    value = raw.get(key, default)
    if not _is_number(value) or not 0 < value <= most:
        raise ConfigError(f"{place(*above, key)} must be a positive number up to {most:g}, got {value!r}")
    return value


def _whole(raw: dict, key: str, default: int, most: int, place: _Place) -> int:
    value = _positive(raw, key, default, most, place)
    if value != int(value):
        raise ConfigError(f"{place(key)} must be a whole number, got {value!r}")
    return int(value)


def _choices(
    raw: dict, key: str, known: dict[str, tuple[str, ...]], place: _Place, further: Collection[str] = ()
) -> dict[str, Any]:
    """A mapping of a few words; ``further`` keys are left to the caller. YAML's ``no`` and ``off`` mean none."""
    found = raw.get(key)
    found = {} if found is None else found
    names = ", ".join((*known, *further))
    if not isinstance(found, dict):
        raise ConfigError(f"{place(key)} must be a mapping with the keys {names}, got {found!r}")
    out = {}
    for name, value in found.items():
        if name in further:
            continue
        if name not in known:
            raise ConfigError(f"{place(key, name)}: unknown key; allowed: {names}")
        value = NONE if value is False else value
        if value not in known[name]:
            raise ConfigError(f"{place(key, name)} is {value!r}; it must be one of {', '.join(known[name])}")
        out[name] = value
    return out


def _parameters(raw: Any, place: _Place) -> dict[str, dict[str, Any]]:
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise ConfigError(f"{place('parameters')} must map a node name to its parameter overrides")
    return {str(node): dict(values) for node, values in raw.items()}
