# SPDX-License-Identifier: Apache-2.0
"""Actors from bundles: those the learner publishes, and one from a file. No rclpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erl_vlm_ros.agents.episode_machine import Learner
from erl_vlm_ros.agents.numpy_actor import NumpyActor
from erl_vlm_ros.data.observation import OBSERVATION_DIM
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.ros.bundle import Bundle, BundleError, decode

_COUNTERS = ("version", "env_steps", "episodes", "episode_budget")


def read_published(data: Any, act_dim: int) -> tuple[Learner, NumpyActor | None]:
    """What the learner says, and its actor unless it has none yet. BundleError for what does not fit."""
    bundle = decode(data, "actor")
    meta = bundle.meta
    wrong = [key for key in _COUNTERS if type(meta.get(key)) is not int]
    if wrong or not isinstance(meta.get("phase"), str):
        raise BundleError(f"actor: meta.{(wrong or ['phase'])[0]} is missing or of the wrong type")
    actor = _actor(bundle, act_dim) if bundle.arrays else None
    return Learner(*(meta[key] for key in _COUNTERS), meta["phase"] == "explore", actor is not None), actor


def read_file(path: str, act_dim: int) -> tuple[NumpyActor, int]:
    """(actor, version) from a file with an actor bundle. ConfigError names the file and what is wrong."""
    if not path:
        raise ConfigError("parameter 'actor_file' is empty; mode evaluate needs the file of an actor bundle")
    try:
        bundle = decode(Path(path).read_bytes(), "actor")
        return _actor(bundle, act_dim), int(bundle.meta.get("version", -1))
    except OSError as error:
        raise ConfigError(f"actor_file {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"actor_file {path}: {error}") from error


def _actor(bundle: Bundle, act_dim: int) -> NumpyActor:
    try:
        actor = NumpyActor(bundle.arrays)
    except ValueError as error:
        raise BundleError(f"actor: {error}") from error
    if (actor.obs_dim, actor.act_dim) != (OBSERVATION_DIM, act_dim):
        raise BundleError(
            f"actor: made for {actor.obs_dim} observations and {actor.act_dim} actions, "
            f"this task has {OBSERVATION_DIM} and {act_dim}"
        )
    return actor
