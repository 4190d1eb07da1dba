# SPDX-License-Identifier: Apache-2.0
"""Named cameras of a simulated scene: the scene's own, one on the wrist, and any other of its MJCF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from erl_vlm_ros.common.cameras import SCENE
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.sim.render import CameraRenderer, check_image_size, pinhole

WRIST = "wrist"
_OWN = "camera"  # the MJCF camera that every scene has
# In the tool's axes (z out of the gripper): beside the gripper and behind its tip, looking a little ahead of the tip.
_EYE, _AHEAD, _FOVY = np.array([0.0, 0.13, -0.13]), 0.05, 90.0


@dataclass(frozen=True)
class SimCamera:
    """``view``: scene, wrist, or a camera of the MJCF. Sizes in px."""

    name: str
    view: str
    width: int
    height: int


def sim_cameras(
    names: Sequence[str], views: Sequence[str] | None, sizes: Sequence[int] | None, image_size: tuple[int, int]
) -> tuple[SimCamera, ...]:
    """From the parameters of sim_bridge; ``image_size``: (width, height) where a camera's size is not given.

    Raises:
        ConfigError: lists of different lengths.
    """
    views = list(views or names)
    sizes = list(sizes or [0] * (2 * len(names)))
    for key, count, wanted in (("camera_views", len(views), len(names)), ("camera_sizes", len(sizes), 2 * len(names))):
        if count != wanted:
            raise ConfigError(
                f"parameter '{key}' of sim_bridge has {count} entries, for {len(names)} cameras it needs {wanted}",
                parameter=f"sim_bridge.{key}",
            )
    return tuple(
        SimCamera(name, seen, sizes[2 * i] or image_size[0], sizes[2 * i + 1] or image_size[1])
        for i, (name, seen) in enumerate(zip(names, views))
    )


def add_wrist_camera(scene: mujoco.MjSpec, tool_site: str) -> None:
    """A camera on the body that carries the tool point; nothing where the scene has one called wrist."""
    if scene.camera(WRIST) is not None:
        return
    site = scene.site(tool_site)
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, np.array(site.quat))
    rotation = turn.reshape(3, 3)
    back = _EYE - np.array([0.0, 0.0, _AHEAD])
    back /= np.linalg.norm(back)  # a camera looks along its -z
    across = np.cross([0.0, 0.0, -1.0], back)
    across /= np.linalg.norm(across)
    axes = rotation @ np.stack([across, np.cross(back, across), back], axis=1)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(axes).reshape(-1))
    site.parent.add_camera(name=WRIST, pos=np.array(site.pos) + rotation @ _EYE, quat=quaternion, fovy=_FOVY)


class SceneCameras:
    """Renders the cameras of a compiled model by their names."""

    def __init__(self, model: mujoco.MjModel, cameras: Sequence[SimCamera]) -> None:
        """ConfigError: a simulated camera that the scene lacks, or a size out of range; names them."""
        self._model, self.cameras = model, tuple(cameras)
        self._renderers: dict[tuple[int, int], CameraRenderer] = {}
        known = [model.camera(i).name for i in range(model.ncam)]
        for camera in self.cameras:
            try:
                check_image_size(camera.width, camera.height)
            except ConfigError as error:
                text = f"camera '{camera.name}': {error}; simulated, its size in cameras must be within that"
                raise ConfigError(text, code=Code.VALUE, parameter="cameras") from error
            if _mjcf(camera.view) not in known:
                told = [SCENE if name == _OWN else name for name in known]
                raise ConfigError(
                    f"camera '{camera.name}': the simulated scene has no camera '{camera.view}'; it has "
                    f"{', '.join(told)}: correct its view (or source sim:NAME) in cameras",
                    code=Code.UNKNOWN, parameter="cameras",
                )  # fmt: skip

    def render(self, data: Any) -> dict[str, np.ndarray]:
        """Name -> image uint8 [h, w, 3], RGB, of every camera, in order."""
        return {camera.name: self._renderer(camera).render(data, _mjcf(camera.view)) for camera in self.cameras}

    def matrix(self, camera: SimCamera) -> np.ndarray:
        """Intrinsics K [3, 3] in pixels, no distortion."""
        return pinhole(camera.width, camera.height, float(self._model.camera(_mjcf(camera.view)).fovy[0]))

    def _renderer(self, camera: SimCamera) -> CameraRenderer:
        size = (camera.width, camera.height)
        if size not in self._renderers:
            self._renderers[size] = CameraRenderer(self._model, *size)
        return self._renderers[size]

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


def _mjcf(view: str) -> str:
    return _OWN if view == SCENE else view
