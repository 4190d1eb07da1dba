# SPDX-License-Identifier: Apache-2.0
"""Whether the named cameras send what they should: that they are there, sizes, how far apart their stamps are."""

from __future__ import annotations

from collections.abc import Sequence

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.control.view_sync import ViewSync


class CameraWatch:
    """Raises ConfigError for what no waiting will mend."""

    def __init__(self, cameras: Sequence[str], sizes: Sequence[int] | None, wait_s: float):
        """``sizes``: width and height of each, px, 0 0: any; None: any of all. ConfigError: another number of them."""
        self._cameras, self._wait_s = tuple(cameras), wait_s
        if sizes is not None and len(sizes) != 2 * len(self._cameras):
            raise ConfigError(
                f"parameter 'camera_sizes' of policy_controller has {len(sizes)} numbers, {len(self._cameras)} cameras "
                f"need {2 * len(self._cameras)}",
                code=Code.VALUE, parameter="policy_controller.camera_sizes",
            )  # fmt: skip
        self._sizes = {name: tuple(sizes[2 * i : 2 * i + 2]) for i, name in enumerate(cameras)} if sizes else {}
        self._heard: set[str] = set()
        self._since: float | None = None
        self._agreed = False
        self._spreads: list[float] = []

    def heard(self, camera: str, width: int, height: int) -> None:
        """An image came. ConfigError: it is of another size than cameras says."""
        wanted = self._sizes.get(camera, (0, 0))
        if any(wanted) and wanted != (width, height):
            raise ConfigError(
                f"camera '{camera}': {names.NAMED_IMAGE.format(camera)} has images of {width}x{height} px, but its "
                f"size in cameras is {wanted[0]}x{wanted[1]}: correct one of them",
                code=Code.VALUE, parameter="cameras",
            )  # fmt: skip
        self._heard.add(camera)

    def check(self, now: float, sync: ViewSync | None) -> None:
        """Call now and then; ``now``: monotonic s. ``sync``: None: they are paired by equal stamps.

        Raises:
            ConfigError: so long after the first call a camera has sent nothing, or no images of one moment were found.
        """
        self._agreed = self._agreed or (sync is not None and bool(sync.found))
        if self._agreed:
            return
        self._since = now if self._since is None else self._since
        if now - self._since < self._wait_s:
            return
        silent = [name for name in self._cameras if name not in self._heard]
        if silent:
            topics = ", ".join(names.NAMED_IMAGE.format(name) for name in silent)
            raise ConfigError(
                f"camera '{silent[0]}': no image came on {topics} within {self._wait_s:g} s (camera_wait_s): start its "
                "driver, correct its source in the robot file's cameras, or leave it out of cameras",
                parameter="cameras",
            )
        if sync is not None:
            raise ConfigError(
                f"the images of {', '.join(self._cameras)} are {sync.closest_s:.3f} s apart at best, but "
                f"policy_controller.camera_tolerance_s is {sync.tolerance_s:g}: run the cameras faster or triggered "
                "together, set their clocks alike, or raise it",
                code=Code.VALUE, parameter="policy_controller.camera_tolerance_s",
            )  # fmt: skip

    def used(self, stamps: Sequence[int]) -> None:
        """Images of these stamps, ns, were taken as one moment."""
        self._agreed = True
        self._spreads.append((max(stamps) - min(stamps)) * 1e-9)

    def figures(self) -> dict[str, float]:
        """``camera_spread_s`` (mean) and ``camera_spread_max_s`` since it was asked last; none where none was used."""
        spreads, self._spreads = self._spreads, []
        if not spreads:
            return {}
        return {"camera_spread_s": sum(spreads) / len(spreads), "camera_spread_max_s": max(spreads)}
