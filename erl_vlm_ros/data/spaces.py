# SPDX-License-Identifier: Apache-2.0
"""What the policy sees and does, part by part: names, sizes, units and sources.

A vector without its spec is numbers; with it, every reader takes a part by name, and vectors of another robot or task
are refused. Specs travel as JSON in episodes, segments, policies and checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.common.tasks import BINARY, FULL, NONE, TRACKED, YAW, Task

JOINTS, EE_POSITION, EE_ROTATION, GRIPPER = "joints", "ee_position", "ee_rotation", "gripper"
OBJECT, OBJECT_FROM_EE, GOAL_FROM_OBJECT = "object", "object_from_ee", "goal_from_object"
FEATURES = "image_features"
CAMERA = "camera/"  # before a camera's name: an image's part
STATE, IMAGES = "state", "images"  # what a policy sees beside proprioception: the task's object, or the camera
LINEAR, ANGULAR = "linear", "angular"
MEASURED, COMMANDED = "joint_states", "command"  # where the gripper's opening comes from
MAX_WIDTH = 0.08  # m, the widest opening of a gripper that says nothing else
_MOST_PARTS, _MOST_NUMBERS = 64, 4096  # a spec from the network is not larger


class SpecError(DataError):
    """Vectors, or specs, that do not fit each other."""


@dataclass(frozen=True)
class Part:
    """Some numbers of a vector, or an image.

    size: how many numbers; 0 for an image. source: the topic (or command) that they come from or go to. labels: names
    of the numbers, for instance of the joints; empty: not said. scale: what 1 in an action stands for, in ``unit``.
    proprioception: what the robot knows of itself. shape: of an image, (height, width).
    """

    name: str
    size: int
    unit: str = ""
    source: str = ""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    proprioception: bool = False
    shape: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not self.name or not 0 <= self.size <= _MOST_NUMBERS:
            raise SpecError(
                f"part '{self.name}' has size {self.size}; a part has a name and 0 to {_MOST_NUMBERS} numbers",
                field=f"{self.name}.size",
            )
        if (self.size == 0) != (min(self.shape) > 0):
            raise SpecError(
                f"part '{self.name}' must hold numbers (size > 0) or be an image (shape > 0), not both",
                field=f"{self.name}.shape",
            )
        if self.labels and len(self.labels) != self.size:
            raise SpecError(
                f"part '{self.name}' has {self.size} numbers and {len(self.labels)} labels", field=f"{self.name}.labels"
            )

    def fits(self, other: Part) -> bool:
        """Whether the numbers of both mean the same. Labels that one does not say, and sources, make no difference."""
        same = (self.name, self.size, self.unit, self.shape) == (other.name, other.size, other.unit, other.shape)
        labels = not self.labels or not other.labels or self.labels == other.labels
        return same and labels and abs(self.scale - other.scale) <= 1e-6 * max(abs(self.scale), abs(other.scale))

    def __str__(self) -> str:
        size = f"{self.shape[1]}x{self.shape[0]} px" if self.size == 0 else str(self.size)
        labels = f" ({', '.join(self.labels)})" if self.labels else ""
        scale = "" if self.scale == 1.0 else f" x{self.scale:g}"
        return f"{self.name}[{size}{scale}{' ' + self.unit if self.unit and self.size else ''}]{labels}"

    def to_json(self) -> dict[str, Any]:
        """JSON-able; what is as by default is left out."""
        given = {"name": self.name, "size": self.size, "unit": self.unit, "source": self.source}
        if self.labels:
            given["labels"] = list(self.labels)
        if self.scale != 1.0:
            given["scale"] = self.scale
        if self.proprioception:
            given["proprioception"] = True
        if self.size == 0:
            given["shape"] = list(self.shape)
        return given

    @classmethod
    def from_json(cls, raw: Any) -> Part:
        """Inverse of to_json. SpecError for anything else."""
        if not isinstance(raw, dict):
            raise SpecError(f"a part of a spec must be a mapping, got {type(raw).__name__}")
        kinds = {"name": str, "size": int, "unit": str, "source": str, "labels": list, "scale": float}
        kinds |= {"proprioception": bool, "shape": list}
        for key, value in raw.items():
            kind = kinds.get(key)
            if kind is None or not (type(value) is kind or (kind is float and type(value) is int)):
                raise SpecError(
                    f"a part of a spec has {str(key)[:40]}={str(value)[:40]!r}, which is not understood",
                    field=str(key)[:40],
                )
        labels, shape = raw.get("labels", []), raw.get("shape", [0, 0])
        if (
            not all(isinstance(label, str) for label in labels)
            or len(shape) != 2
            or any(type(n) is not int for n in shape)
        ):
            raise SpecError("a part of a spec has labels that are no texts, or a shape that is no pair of numbers")
        if not np.isfinite(raw.get("scale", 1.0)) or "name" not in raw or "size" not in raw:
            raise SpecError("a part of a spec lacks name or size, or its scale is not finite")
        values = {**raw, "labels": tuple(labels), "shape": tuple(shape), "scale": float(raw.get("scale", 1.0))}
        return cls(**values)


@dataclass(frozen=True)
class Spec:
    """Parts of one vector, in its order, and images beside it. Raises SpecError for two parts of one name."""

    parts: tuple[Part, ...]

    KIND = "spec"

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not self.vector or len(names) > _MOST_PARTS or len(set(names)) != len(names):
            raise SpecError(
                f"{self.KIND}: parts need different names, 1 to {_MOST_PARTS} of them; got {', '.join(names)}"
            )

    @property
    def vector(self) -> tuple[Part, ...]:
        """The parts that hold numbers."""
        return tuple(part for part in self.parts if part.size)

    @property
    def images(self) -> tuple[Part, ...]:
        """The parts that are images."""
        return tuple(part for part in self.parts if not part.size)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(part.size for part in self.parts)

    def __contains__(self, name: str) -> bool:
        return any(part.name == name for part in self.parts)

    def part(self, name: str) -> Part:
        """The part of that name. SpecError when there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise SpecError(f"{self.KIND} has no part '{name}'; it has {self}", field=name)

    def slice(self, name: str) -> slice:
        """Where the part's numbers are in the vector. SpecError when there is no such part, or it is an image."""
        wanted, start = self.part(name), 0
        if wanted.size == 0:
            raise SpecError(f"{self.KIND}: '{name}' is an image, and no part of the vector", field=name)
        for part in self.parts:
            if part.name == name:
                break
            start += part.size
        return slice(start, start + wanted.size)

    def require(self, other: Spec, where: str) -> None:
        """Refuse another spec than this one: one SpecError that names both. ``where``: whose the other is."""
        wrong = [a.name for a, b in zip(self.parts, other.parts) if not a.fits(b)]
        if wrong or len(self.parts) != len(other.parts):
            text = f"{where} has the {self.KIND} {other}, but this needs {self}"
            raise SpecError(text, field=f"{self.KIND}.{wrong[0]}" if wrong else self.KIND)

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-able."""
        return [part.to_json() for part in self.parts]

    @classmethod
    def from_json(cls, raw: Any) -> Any:
        """Inverse of to_json. SpecError for anything else."""
        if not isinstance(raw, list) or len(raw) > _MOST_PARTS:
            raise SpecError(f"{cls.KIND}: expected a list of at most {_MOST_PARTS} parts", field=cls.KIND)
        return cls(tuple(Part.from_json(part) for part in raw))


@dataclass(frozen=True)
class ObservationSpec(Spec):
    """What the policy sees. Proprioception comes first."""

    KIND = "observation"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [part.proprioception for part in self.vector]
        if not known[0] or known != sorted(known, reverse=True):
            raise SpecError(f"{self.KIND}: proprioception must come first, and there must be some: {self}")

    @property
    def proprio_size(self) -> int:
        """How many of the first numbers are proprioception."""
        return sum(part.size for part in self.vector if part.proprioception)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in order; empty: one without a name."""
        return tuple(part.name.removeprefix(CAMERA) for part in self.images)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The arm's joints, in order; empty when the spec does not name them."""
        return self.part(JOINTS).labels if JOINTS in self else ()


@dataclass(frozen=True)
class ActionSpec(Spec):
    """What the policy does, each number in [-1, 1]: `linear` [3], `angular` (yaw [1] or x, y, z [3]), `gripper` [1]."""

    KIND = "action"


@dataclass(frozen=True)
class Spaces:
    """An agent's two spaces."""

    observation: ObservationSpec
    action: ActionSpec

    def require(self, other: Spaces, where: str) -> None:
        """Refuse other spaces than these: one SpecError that names both. ``where``: whose the others are."""
        self.observation.require(other.observation, where)
        self.action.require(other.action, where)

    def require_in(self, held: Spaces, where: str) -> None:
        """Refuse spaces that lack a part of these, or have another action; other parts of the observation do not
        matter. SpecError names both. ``where``: whose the others are."""
        given = {part.name: part for part in held.observation.parts}
        kept = tuple(given[part.name] for part in self.observation.parts if part.name in given)
        numbers = any(part.size for part in kept)
        self.require(Spaces(ObservationSpec(kept), held.action) if numbers else held, where)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"observation": self.observation.to_json(), "action": self.action.to_json()}

    @classmethod
    def from_json(cls, raw: Any) -> Spaces:
        """Inverse of to_json. SpecError for anything else."""
        if not isinstance(raw, dict) or set(raw) != {"observation", "action"}:
            raise SpecError("spaces: expected a mapping with observation and action")
        return cls(ObservationSpec.from_json(raw["observation"]), ActionSpec.from_json(raw["action"]))


def observation_spec(task: Task, joints: Sequence[str] | int, gripper: str = MEASURED) -> ObservationSpec:
    """What the policy sees in a task.

    Args:
        joints: names of the arm's joints, or only how many.
        gripper: where the opening comes from, `MEASURED` or `COMMANDED`; empty: there is none.
    """
    count, labels = (joints, ()) if isinstance(joints, int) else (len(joints), tuple(joints))
    rotation = {NONE: (), YAW: ("sin", "cos"), FULL: ("xx", "yx", "zx", "xy", "yy", "zy")}[task.observed_rotation]
    own = [Part(JOINTS, count, "rad", "joint_states", labels), Part(EE_POSITION, 3, "m", "ee_pose")]
    if rotation:
        own.append(Part(EE_ROTATION, len(rotation), "", "ee_pose", rotation))
    if gripper:
        own.append(Part(GRIPPER, 1, "m", gripper))
    parts = [Part(p.name, p.size, p.unit, p.source, p.labels, proprioception=True) for p in own]
    if task.observed_object == TRACKED:
        parts += [Part(OBJECT, 3, "m", "object_pose"), Part(OBJECT_FROM_EE, 3, "m", "object_pose")]
        parts.append(Part(GOAL_FROM_OBJECT, 3, "m", "object_pose"))
    return ObservationSpec(tuple(parts))


def action_spec(task: Task, max_width: float = MAX_WIDTH) -> ActionSpec:
    """What the policy does in a task; ``max_width``: the gripper's widest opening, m."""
    parts = [Part(LINEAR, 3, "m/s", "policy/twist", scale=task.linear_speed)]
    axes = {NONE: (), YAW: ("z",), FULL: ("x", "y", "z")}[task.rotation]
    if axes:
        parts.append(Part(ANGULAR, len(axes), "rad/s", "policy/twist", axes, scale=task.angular_speed))
    if task.gripper != NONE:
        unit = "open or shut" if task.gripper == BINARY else "m"
        parts.append(Part(GRIPPER, 1, unit, "policy/gripper", scale=max_width))
    return ActionSpec(tuple(parts))


def spaces_of(task: Task, joints: Sequence[str] | int, gripper: str = MEASURED, max_width: float = MAX_WIDTH) -> Spaces:
    """Both spaces; arguments as of observation_spec and action_spec."""
    return Spaces(observation_spec(task, joints, gripper), action_spec(task, max_width))


def with_cameras(spaces: Spaces, cameras: Sequence[str], image_size: int) -> Spaces:
    """The same with an image of each of these cameras, squares of ``image_size`` px; none: as they are."""
    shape = (image_size, image_size)
    images = [Part(CAMERA + name, 0, "", names.NAMED_IMAGE.format(name), shape=shape) for name in cameras]
    return Spaces(ObservationSpec((*spaces.observation.parts, *images)), spaces.action) if images else spaces


def image_spaces(spaces: Spaces, features: int) -> Spaces:
    """The same for a policy that sees proprioception and ``features`` numbers out of the image, no tracked object."""
    own = tuple(part for part in spaces.observation.parts if part.proprioception)
    features_part = Part(FEATURES, features, "", "image")
    return Spaces(ObservationSpec((*own, features_part, *spaces.observation.images)), spaces.action)


def episode_spaces(spaces: Spaces) -> Spaces:
    """The spaces of the episodes, out of those of an agent that may see image features beside."""
    parts = tuple(part for part in spaces.observation.parts if part.name != FEATURES)
    return Spaces(ObservationSpec(parts), spaces.action)


def run_spaces(values: Mapping[str, Any], task: Task) -> Spaces:
    """The spaces of a run's episodes, from the parameters joint_names, gripper_joints, gripper_max, observe, cameras
    and image_size, shared by all nodes."""
    if values.get("observe") == IMAGES:
        task = replace(task, observed_object=NONE)
    gripper = MEASURED if values["gripper_joints"] else COMMANDED if task.use_gripper else ""
    spaces = spaces_of(task, values["joint_names"], gripper, values["gripper_max"])
    return with_cameras(spaces, values.get("cameras") or (), values.get("image_size", 0))


#: the observation of the released version 0.1, which wrote no spec: six joints of any name, gripper, tracked object
RELEASED_OBSERVATION = ObservationSpec(
    (
        Part(JOINTS, 6, "rad", "joint_states", proprioception=True),
        Part(EE_POSITION, 3, "m", "ee_pose", proprioception=True),
        Part(GRIPPER, 1, "m", MEASURED, proprioception=True),
        Part(OBJECT, 3, "m", "object_pose"),
        Part(OBJECT_FROM_EE, 3, "m", "object_pose"),
        Part(GOAL_FROM_OBJECT, 3, "m", "object_pose"),
    )
)


def spaces_in(meta: Mapping[str, Any]) -> Spaces | None:
    """The spaces that a bundle's meta or a checkpoint carries; None for one of version 0.1. SpecError: unreadable."""
    raw = meta.get("spaces")
    return None if raw is None else Spaces.from_json(raw)


def require_spaces(wanted: Spaces, found: Spaces | None, sizes: tuple[int, int] | None, where: str) -> None:
    """Refuse data of other spaces. SpecError names both.

    Args:
        found: those of the data; None: they carry none, as those of version 0.1, and have the released layout.
        sizes: numbers in an observation and an action of the data; None: not known.
    """
    if found is not None:
        wanted.require(found, where)
        return
    wanted.observation.require(RELEASED_OBSERVATION, f"{where} (from version 0.1, which wrote no spec)")
    if sizes is not None and sizes != (wanted.observation.size, wanted.action.size):
        raise SpecError(
            f"{where} has {sizes[0]} observations and {sizes[1]} actions a step, but this needs "
            f"{wanted.observation} and {wanted.action}"
        )
