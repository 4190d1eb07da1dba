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
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.place import Index, Place
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
            text = f"{self.path}: no classes described for n={n} (described: {have}); add classes.{n}"
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter=f"classes.{n}", file=self.path)
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
        text = (
            f"{task.path}: task '{task.name}' has no simulated scene (those that have one: {', '.join(known)}); "
            "teach it to a real arm with the graph train_real, or give it a scene (docs/how_to/add_a_scene.md)"
        )
        raise ConfigError(text, code=Code.NOT_GIVEN, parameter="scene", file=task.path)


def load_task(name_or_path: str | Path) -> Task:
    """Read a shipped task by name, a task of another world as ``WORLD/SCENE``, or any task file by path.

    Raises:
        ConfigError: unknown task, unknown or missing key, wrong type or length; names the file, line and key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and world_of(str(name_or_path)):
        text, path = world_task(str(name_or_path))
        return parse_task(*_with_path(parse_yaml(text, str(path), str(path)), path))
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
        raise ConfigError(f"{path}: cannot be read: {error}", code=Code.UNREADABLE, file=str(path)) from error


def _with_path(read: tuple[Any, yaml.Node | None], path: Path) -> tuple[Any, str, yaml.Node | None]:
    return read[0], str(path), read[1]


def _file_of(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(
                f"task file {path} does not exist", code=Code.MISSING_FILE, parameter="task", file=str(path)
            )
        return path
    names = task_names()
    if str(name_or_path) not in names:
        worlds = "".join(f", {world}/SCENE" for world in world_names())
        text = f"unknown task '{name_or_path}'; known: {', '.join(names)}{worlds}, or give a path to a task YAML"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="task")
    return resource(f"config/tasks/{name_or_path}.yaml")


def parse_task(raw: Any, path: str, root: yaml.Node | None = None) -> Task:
    """Check a task's mapping and build the Task; ``path`` and ``root`` (its YAML nodes) are for messages."""
    place = Place(path, root)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of task keys", code=Code.UNREADABLE, file=path)
    unknown = sorted(set(raw) - _REQUIRED - _OPTIONAL, key=str)
    missing = _REQUIRED - set(raw)
    if unknown:
        allowed = ", ".join(sorted(_REQUIRED | _OPTIONAL))
        raise place.refused(f": unknown key; allowed: {allowed}", unknown[0], code=Code.UNKNOWN)
    if missing:
        keys = ", ".join(sorted(missing))
        raise ConfigError(f"{path}: missing key {keys}", code=Code.NOT_GIVEN, parameter=min(missing), file=path)
    workspace = raw["workspace"]
    if not isinstance(workspace, dict) or set(workspace) != {"min", "max"}:
        raise place.refused(" needs exactly the keys min and max, each [x, y, z] in metres", "workspace")
    low = _vector(workspace["min"], place, "workspace", "min")
    high = _vector(workspace["max"], place, "workspace", "max")
    if not all(a < b for a, b in zip(low, high)):
        text = f" {list(low)} must be below workspace.max {list(high)} on every axis"
        raise place.refused(text, "workspace", "min", code=Code.DOES_NOT_FIT)
    classes = _classes(raw["classes"], place)
    n_classes = raw["n_classes"]
    if isinstance(n_classes, bool) or n_classes not in classes:
        text = f" is {n_classes} but classes describes {sorted(classes)}"
        raise place.refused(text, "n_classes", code=Code.DOES_NOT_FIT)
    action = _choices(raw, "action", _ACTION, place, {"angular_speed"})
    observation = _choices(raw, "observation", _OBSERVATION, place)
    if "use_gripper" in raw:  # how version 0.1 wrote it
        if "gripper" in action:
            text = " and action.gripper say the same; leave use_gripper out"
            raise place.refused(text, "use_gripper", code=Code.DOES_NOT_FIT)
        action["gripper"] = CONTINUOUS if _typed(raw, "use_gripper", bool, False, place) else NONE
    rotation = action.get("rotation", NONE)
    scene = _scene(raw, path, place)
    observed = observation.get("object", TRACKED)
    if scene and observed == TRACKED and not (raw["simulation"] or {}).get("object"):
        raise place.refused(
            ": observation.object is tracked: name the site that a tracker would see, simulation.object, or set "
            "observation: {object: none}",
            *("simulation", "object"),
            code=Code.NOT_GIVEN,
            at=("simulation",),
        )
    return Task(
        name=_text(raw, "name", place),
        instruction=_text(raw, "instruction", place),
        focus=_text(raw, "focus", place),
        classes=classes,
        n_classes=n_classes,
        goal=_vector(raw["goal"], place, "goal"),
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


def _scene(raw: dict, path: str, place: Place) -> str:
    """The scene's file, relative to the task's. ConfigError: scene without simulation, or the other way."""
    if ("scene" in raw) != ("simulation" in raw):
        missing = "simulation" if "scene" in raw else "scene"
        text = ": scene and simulation belong together: the MJCF file, and what is true in it"
        there = "simulation" if missing == "scene" else "scene"
        raise place.refused(text, missing, code=Code.NOT_GIVEN, at=(there,))
    if "scene" not in raw:
        return ""
    file = Path(path).parent.resolve() / _text(raw, "scene", place)
    if not file.is_file():
        text = f"{place('scene')}: {file} does not exist"
        raise ConfigError(text, code=Code.MISSING_FILE, parameter="scene", file=str(file))
    return str(file)


def _classes(raw: Any, place: Place) -> dict[int, tuple[RatingClass, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise place.refused(" must map a number n to n named classes, worst first", "classes")
    return {n: _class_list(n, entries, place) for n, entries in raw.items()}


def _class_list(n: Any, entries: Any, place: Place) -> tuple[RatingClass, ...]:
    keys: tuple[Any, ...] = ("classes", n)
    if not isinstance(n, int) or not MIN_CLASSES <= n <= MAX_CLASSES:
        raise place.refused(f": n must be a whole number from {MIN_CLASSES} to {MAX_CLASSES}", *keys)
    if not isinstance(entries, list) or len(entries) != n:
        raise place.refused(f" must list exactly {n} classes, worst first", *keys)
    items: list[RatingClass] = []
    for i, entry in enumerate(entries):
        keys = ("classes", n, Index(i))
        if not isinstance(entry, dict) or set(entry) != {"name", "description"}:
            got = f"; got {', '.join(map(str, entry))}" if isinstance(entry, dict) else ""
            raise place.refused(f" needs exactly the keys name and description{got}", *keys)
        name, description = entry["name"], entry["description"]
        if not all(isinstance(v, str) and v.strip() for v in (name, description)):
            raise place.refused(": name and description must be texts; put quotes around yes, no and numbers", *keys)
        if "\n" in name.strip() or ":" in name:
            raise place.refused(f": name {name!r} must be one line without a colon", *keys)
        words = plain_words(name)
        same = [c.name for c in items if plain_words(c.name) == words]
        if same or not words:
            problem = f"two classes are called '{same[0]}'" if same else f"the name {name!r} has no letter or digit"
            raise place.refused(
                f": {problem}; names must differ in their letters or digits", *keys, code=Code.DOES_NOT_FIT
            )
        items.append(RatingClass(name.strip(), description.strip()))
    return tuple(items)


def plain_words(text: str) -> str:
    """Lower case words with single spaces; punctuation, quotes and markdown removed."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _vector(value: Any, place: Place, *keys: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v) and abs(v) <= MAX_LENGTH for v in value):
        text = f" must be three numbers [x, y, z] in metres, {MAX_LENGTH:g} at most, got {value!r}"
        raise place.refused(text, *keys)
    return (float(value[0]), float(value[1]), float(value[2]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(raw: dict, key: str, place: Place) -> str:
    if not isinstance(raw[key], str) or not raw[key].strip():
        raise place.refused(" must be a non-empty text", key)
    return raw[key].strip()


def _typed(raw: dict, key: str, kind: type, default: Any, place: Place) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind):
        raise place.refused(f" must be {kind.__name__}, got {value!r}", key)
    return value


def _positive(raw: dict, key: str, default: float, most: float, place: Place, *above: str) -> float:
    value = raw.get(key, default)
    if not _is_number(value) or not 0 < value <= most:
        raise place.refused(f" must be a positive number up to {most:g}, got {value!r}", *above, key)
    return value


def _whole(raw: dict, key: str, default: int, most: int, place: Place) -> int:
    value = _positive(raw, key, default, most, place)
    if value != int(value):
        raise place.refused(f" must be a whole number, got {value!r}", key)
    return int(value)


def _choices(
    raw: dict, key: str, known: dict[str, tuple[str, ...]], place: Place, further: Collection[str] = ()
) -> dict[str, Any]:
    """A mapping of a few words; ``further`` keys are left to the caller. YAML's ``no`` and ``off`` mean none."""
    found = raw.get(key)
    found = {} if found is None else found
    names = ", ".join((*known, *further))
    if not isinstance(found, dict):
        raise place.refused(f" must be a mapping with the keys {names}, got {found!r}", key)
    out = {}
    for name, value in found.items():
        if name in further:
            continue
        if name not in known:
            raise place.refused(f": unknown key; allowed: {names}", key, name, code=Code.UNKNOWN)
        value = NONE if value is False else value
        if value not in known[name]:
            raise place.refused(f" is {value!r}; it must be one of {', '.join(known[name])}", key, name)
        out[name] = value
    return out


def _parameters(raw: Any, place: Place) -> dict[str, dict[str, Any]]:
    if not isinstance(raw, dict) or not all(isinstance(v, dict) for v in raw.values()):
        raise place.refused(" must map a node name to its parameter overrides", "parameters")
    return {str(node): dict(values) for node, values in raw.items()}
