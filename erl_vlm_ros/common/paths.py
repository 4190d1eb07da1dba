# SPDX-License-Identifier: Apache-2.0
"""Find the files that ship with the package: config, launch, sim."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError

PACKAGE = "erl_vlm_ros"


def share_roots() -> list[Path]:
    """Folders that may hold the shipped files, best first: checkout, pip prefix, ament prefixes."""
    roots = [Path(__file__).resolve().parents[2], Path(sys.prefix) / "share" / PACKAGE]
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            roots.append(Path(prefix) / "share" / PACKAGE)
    return roots


def resource(relative: str) -> Path:
    """Path of a shipped file or folder, e.g. ``resource("config/tasks/drawer_open.yaml")``.

    Raises:
        ConfigError: the file is in none of the places where the package is installed.
    """
    for root in share_roots():
        candidate = root / relative
        if candidate.exists():
            return candidate
    places = ", ".join(str(root) for root in share_roots())
    text = f"{relative} is not part of this installation (looked in {places}); reinstall {PACKAGE}"
    raise ConfigError(text, code=Code.MISSING_FILE, file=str(relative))
