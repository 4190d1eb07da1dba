# SPDX-License-Identifier: Apache-2.0
"""Actors from bundles: those the learner publishes, and one from a file. No rclpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erl_vlm_ros.agents.episode_machine import Learner
from erl_vlm_ros.agents.numpy_actor import NumpyActor
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.ros.bundle import BundleError, decode

_COUNTERS = ("version", "env_steps", "episodes", "episode_budget")


def read_published(data: Any) -> tuple[Learner, NumpyActor | None]:
    """What the learner says, and its actor unless it has none yet. BundleError for anything malformed."""
    bundle = decode(data, "actor")
    meta = bundle.meta
    wrong = [key for key in _COUNTERS if type(meta.get(key)) is not int]
    if wrong or not isinstance(meta.get("phase"), str):
        raise BundleError(f"actor: meta.{(wrong or ['phase'])[0]} is missing or of the wrong type")
    try:
        actor = NumpyActor(bundle.arrays) if bundle.arrays else None
    except (ValueError, KeyError) as error:
        raise BundleError(f"actor: {error}") from error
    return Learner(*(meta[key] for key in _COUNTERS), meta["phase"] == "explore", actor is not None), actor


def read_file(path: str) -> tuple[NumpyActor, int]:
    """(actor, version) from a file with an actor bundle. ConfigError names the file and what is wrong."""
    if not path:
        raise ConfigError("parameter 'actor_file' is empty; mode evaluate needs the file of an actor bundle")
    try:
        bundle = decode(Path(path).read_bytes(), "actor")
        return NumpyActor(bundle.arrays), int(bundle.meta.get("version", -1))
    except OSError as error:
        raise ConfigError(f"actor_file {path}: {error.strerror}") from error
    except (BundleError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"actor_file {path}: {error}") from error
