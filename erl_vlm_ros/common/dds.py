# SPDX-License-Identifier: Apache-2.0
"""Fast DDS must be told to carry large images (config/fastdds.xml). No rclpy here: it is told before rclpy starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from erl_vlm_ros.common.paths import resource

_OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")  # Fast DDS 2: another name for the same
_SHARED_MEMORY = "/dev/shm"
SEGMENT_BYTES = 18_000_000  # a participant's file there with config/fastdds.xml (17.6 MB measured)
_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def profile_variable(distribution: str | None) -> str:
    """The environment variable that names the profile file; ``distribution`` as in ROS_DISTRO."""
    return _VARIABLES[distribution in _OLD_DISTRIBUTIONS]


def profile_setting(environment: Mapping[str, str], profile: Path) -> dict[str, str]:
    """What to add to ``environment`` so that Fast DDS uses ``profile``; empty when the user named a file of their own,
    or another DDS."""
    if any(name in environment for name in _VARIABLES):
        return {}
    if not environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        return {}
    return {profile_variable(environment.get("ROS_DISTRO")): str(profile)}


def use_profile() -> None:
    """Let this process use the package's profile, however it was started (`ros2 run`, say).

    Fast DDS reads the variable when the first node is made, so this goes before rclpy.init. Raises ConfigError when
    the package's file is not installed.
    """
    os.environ.update(profile_setting(os.environ, resource("config/fastdds.xml")))


def room_problem(free_bytes: int | None = None) -> str:
    """Why large images may get lost here; empty when there is room. ``free_bytes``: in /dev/shm, None: look there.

    Each process takes a segment of shared memory; one that gets none sends over the loopback network.
    """
    if free_bytes is None:
        if not os.path.isdir(_SHARED_MEMORY):
            return ""
        free_bytes = shutil.disk_usage(_SHARED_MEMORY).free
    if free_bytes >= SEGMENT_BYTES:
        return ""
    return (
        f"{free_bytes / 1e6:.0f} MB are free in {_SHARED_MEMORY}, each node takes {SEGMENT_BYTES / 1e6:.0f} MB: images "
        "go over the loopback network, later and less surely; free some (fastdds shm clean), or give a container "
        "--shm-size=1g"
    )
