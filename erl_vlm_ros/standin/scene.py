# SPDX-License-Identifier: Apache-2.0
"""What the stand-in rater knows about the set-up beforehand, as who built it would: cameras and dimensions.

Read from ``config/standin_scene.json``, which :mod:`erl_vlm_ros.standin.calibrate` writes (a test keeps
it in step with the scenes). Metres in the base frame. Where things are in an episode is not in there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource


@dataclass(frozen=True)
class Camera:
    """A camera at ``position`` that looks at ``target``, horizon level; ``fovy``: vertical angle, deg."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float

    def rotation(self) -> np.ndarray:
        """[3, 3]: rows are the image's x (right), y (down) and the viewing direction, in the base frame."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])


def _load() -> dict[str, Any]:
    path = resource("config/standin_scene.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=_named)
    except ValueError as error:
        text = f"{path} is not valid JSON ({error}); run python -m erl_vlm_ros.standin.calibrate"
        raise ConfigError(text, code=Code.UNREADABLE, file=str(path)) from None


def _named(raw: dict[str, Any]) -> Any:
    # maps from task names stay maps; all else is read by attribute
    return (
        raw
        if any(isinstance(v, SimpleNamespace) for v in raw.values()) and "limits" not in raw
        else SimpleNamespace(**raw)
    )


_ALL = _load()
CAMERAS = {name: Camera(c.position, c.target, c.fovy) for name, c in _ALL["cameras"].items()}
REACH = _ALL["reach"]  # task -> low, high of the tool point; opens: whether the task opens the fingers
ARM = _ALL["arm"]
DRAWER, SWEEP, PICK = (_ALL[name] for name in ("drawer_open", "sweep_into", "pick_place"))
