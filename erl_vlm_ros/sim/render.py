# SPDX-License-Identifier: Apache-2.0
"""Off-screen rendering: choose the OpenGL back end, leave out what makes software rendering slow."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError

MAX_WIDTH, MAX_HEIGHT = 640, 480
_BACKENDS = {
    "egl": ("libEGL.so.1", "libEGL.so"),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),
}
_APT = "apt-get install -y libegl1 libgl1-mesa-dri"


def choose_backend() -> str:
    """Set ``MUJOCO_GL`` (unless the user did) to a back end whose library loads: egl, osmesa, or disable.

    MuJoCo reads the variable when it is first imported; ``erl_vlm_ros.sim`` does this before.  Physics works
    with every answer; only rendering needs a library.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if not chosen:
        chosen = next((name for name, libraries in _BACKENDS.items() if any(map(_loads, libraries))), "disable")
        os.environ["MUJOCO_GL"] = chosen
    return chosen


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def check_image_size(width: int, height: int) -> None:
    """Raise ConfigError unless 16 <= width <= 640 and 16 <= height <= 480."""
    if not (16 <= width <= MAX_WIDTH and 16 <= height <= MAX_HEIGHT):
        raise ConfigError(
            f"image_size {width}x{height}: width must be 16..{MAX_WIDTH} and height 16..{MAX_HEIGHT} pixels",
            parameter="image_size",
        )


def pinhole(width: int, height: int, fovy: float) -> np.ndarray:
    """Intrinsics K [3, 3] in pixels of an image without distortion; ``fovy``: vertical field of view, degrees."""
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(fovy))
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """An old renderer that is collected while one is made resets EGL under it: no image, or "gladLoadGL error"."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _follow_choice() -> None:
    """MuJoCo reads MUJOCO_GL once: who imported it before this package got GLFW, which needs a display."""
    import mujoco

    chosen = choose_backend()
    contexts = sys.modules[mujoco.Renderer.__module__].gl_context
    if chosen in _BACKENDS and getattr(contexts.GLContext, "__module__", "") != f"mujoco.{chosen}":
        importlib.reload(contexts)


class CameraRenderer:
    """Draws one fixed camera of a MuJoCo model.

    No shadows, reflections, skybox or haze: together they cost 8x.
    """

    def __init__(self, model: Any, width: int, height: int, camera: str = "camera") -> None:
        """ConfigError for a size out of range, or when no OpenGL back end works (names the apt line)."""
        import mujoco

        check_image_size(width, height)
        self._camera = camera
        try:
            _follow_choice()
            with _no_collection():
                self._renderer = mujoco.Renderer(model, height=height, width=width)
        except Exception as error:  # OpenGL bindings raise many unrelated types
            text = (
                f"rendering does not work with MUJOCO_GL={os.environ.get('MUJOCO_GL')!r} ({error}); "
                f"install Mesa: {_APT}, and unset MUJOCO_GL or set it to egl"
            )
            raise ConfigError(text, code=Code.MISSING_PACKAGE, parameter="MUJOCO_GL", remedy=_APT) from error
        flags = self._renderer.scene.flags
        for name in ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX", "mjRND_HAZE"):
            flags[getattr(mujoco.mjtRndFlag, name)] = 0
        self._option = mujoco.MjvOption()

    def render(self, data: Any, camera: str = "") -> np.ndarray:
        """Image of ``data`` as uint8 [height, width, 3], RGB; ``camera``: another than its own."""
        self._renderer.update_scene(data, camera=camera or self._camera, scene_option=self._option)
        return self._renderer.render()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()
