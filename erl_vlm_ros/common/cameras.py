# SPDX-License-Identifier: Apache-2.0
"""Named cameras, as ``cameras:`` of a robot or task file lists them. A run without that key has one without a name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erl_vlm_ros.common.errors import Code, ConfigError

MOST = 8  # cameras of a run
NAME = r"[a-z][a-z0-9_]{0,30}"
SIMULATED, REALSENSE, OPENCV, V4L, TOPIC = "sim", "realsense", "opencv", "v4l", "topic"
SOURCES = (REALSENSE, V4L, OPENCV, TOPIC, SIMULATED)
SCENE = "scene"  # the simulated camera that every scene has; ``wrist`` looks along the gripper
_RECORDINGS = (".bag", ".db3")
Pixels = Annotated[int, Field(ge=0, le=10_000)]


class CameraSpec(BaseModel):
    """One camera.

    source: ``realsense[:SERIAL or FILE]``, ``v4l:DEVICE`` (also ``opencv:DEVICE``, URL or video file), ``topic:NAME``
    of another driver's images, ``sim:NAME`` of a simulated camera; empty: simulated by its own name. view: the
    simulated camera where the arm is simulated; empty: the one of its name. size: (width, height) in px as published;
    empty: as it comes. crop: (x, y, width, height) in px of a real camera's image. parameters: of its camera node.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    source: str = ""
    view: str = ""
    size: tuple[()] | tuple[Pixels, Pixels] = ()
    crop: tuple[()] | tuple[Pixels, Pixels, Pixels, Pixels] = ()
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> CameraSpec:
        kind, _, detail = self.source.partition(":")
        if self.source and kind not in SOURCES:
            raise ValueError(f"source '{self.source}' must begin with one of {', '.join(SOURCES)}")
        if kind in (TOPIC, SIMULATED, V4L, OPENCV) and not detail:
            raise ValueError(f"source '{self.source}' must name what it is: {kind}:NAME")
        if self.size and min(self.size) < 16:
            raise ValueError(f"size {list(self.size)}: 16 px at least")
        if self.crop and min(self.crop[2:]) < 16:
            raise ValueError(f"crop {list(self.crop)}: width and height of 16 px at least")
        return self

    @property
    def simulated(self) -> str:
        """Name of the simulated camera that stands for it."""
        kind, _, detail = self.source.partition(":")
        return self.view or (detail if kind == SIMULATED else self.name)

    @property
    def real(self) -> bool:
        """Whether it has a source beside the simulation."""
        return bool(self.source) and not self.source.startswith(f"{SIMULATED}:")

    def node_parameters(self) -> dict[str, Any]:
        """Parameters of the node ``camera`` for it."""
        kind, _, detail = self.source.partition(":")
        out: dict[str, Any] = {"source": OPENCV if kind == V4L else kind}
        if kind == REALSENSE and detail:
            out["realsense.file" if Path(detail).suffix in _RECORDINGS else "realsense.serial"] = detail
        elif kind in (V4L, OPENCV):
            out["opencv.source"] = detail
        if self.crop:
            out["crop"] = list(self.crop)
        if self.size:
            out |= {"width": self.size[0], "height": self.size[1]}
        return out | {"camera_frame": f"{self.name}_color_optical_frame"} | self.parameters


def check_cameras(cameras: Sequence[CameraSpec]) -> None:
    """ValueError: two cameras of one name, or more than MOST."""
    names = [camera.name for camera in cameras]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ValueError(f"two cameras are called '{twice}': give each a name of its own")
    if len(names) > MOST:
        raise ValueError(f"{len(names)} cameras; {MOST} at most")


def read_task_cameras(raw: Any, place: Any) -> tuple[CameraSpec, ...]:
    """``cameras:`` of a task file: names, sizes, crops and simulated cameras; devices are the robot file's to say.

    Args:
        place: names a key of the file, for messages.

    Raises:
        ConfigError: not such a list; names file, line and key.
    """
    if not isinstance(raw, list) or not raw:
        raise place.refused(" must list cameras, each a mapping with a name", "cameras")
    out = []
    for i, entry in enumerate(raw):
        entry = {"name": entry} if isinstance(entry, str) else entry
        key = f"cameras[{i}]"
        try:
            made = CameraSpec.model_validate(_tuples(entry))
        except ValidationError as error:
            first = error.errors()[0]
            keys = ".".join(str(part) for part in first["loc"][:1])
            text = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
            raise ConfigError(
                f"{place('cameras')}[{i}]{'.' + keys if keys else ''}: {text}", code=Code.VALUE,
                parameter=f"{key}.{keys}".rstrip("."), file=place.file("cameras"),
            ) from error  # fmt: skip
        if made.real or made.parameters:
            which = "source" if made.real else "parameters"
            raise ConfigError(
                f"{place('cameras')}[{i}].{which}: a task may not open devices, files or topics: name the camera's "
                f"source in the robot file's cameras, under the same name '{made.name}'",
                code=Code.NOT_BY_TASK, parameter=f"{key}.{which}", file=place.file("cameras"),
            )  # fmt: skip
        out.append(made)
    try:
        check_cameras(out)
    except ValueError as error:
        raise place.refused(f": {error}", "cameras") from error
    return tuple(out)


def merged(robot: Sequence[CameraSpec], task: Sequence[CameraSpec]) -> tuple[CameraSpec, ...]:
    """The cameras of a run: the task's, each with what the robot's of that name says beside; else the robot's."""
    known = {camera.name: camera for camera in robot}
    out = []
    for camera in task:
        base = known.get(camera.name)
        if base is None:
            out.append(camera)
            continue
        said = {key: getattr(camera, key) for key in ("view", "size", "crop") if getattr(camera, key)}
        if camera.source:  # a task's is a simulated one
            said["view"] = camera.simulated
        out.append(base.model_copy(update=said))
    return tuple(out) if task else tuple(robot)


def _tuples(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
