# SPDX-License-Identifier: Apache-2.0
"""Actors from bundles: those the learner publishes, and one from a file. No rclpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from erl_vlm_ros.agents.encoders import Encoder
from erl_vlm_ros.common.errors import Code, ConfigError, file_fault
from erl_vlm_ros.control.episode_machine import LearnerStatus
from erl_vlm_ros.control.policies import Policy, read_policy
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode
from erl_vlm_ros.data.spaces import Spaces, SpecError, require_spaces, spaces_in

_COUNTERS = ("version", "env_steps", "episodes", "episode_budget")
DEMONSTRATED = "demonstrated"  # end-effector positions to explore near; not one of the actor's arrays
MAX_DEMONSTRATED = 512  # positions


def read_published(
    bundle: Bundle, spaces: Spaces, given: Encoder | None = None
) -> tuple[LearnerStatus, Policy | None, np.ndarray]:
    """What the learner says, its actor, unless it has none yet, and end-effector positions [N, 3] of demonstrations, m.

    ``given``: this node's own encoder. BundleError for what does not fit ``spaces``.
    """
    meta = bundle.meta
    wrong = [key for key in _COUNTERS if type(meta.get(key)) is not int]
    if wrong or not isinstance(meta.get("phase"), str):
        raise BundleError(
            f"actor: meta.{(wrong or ['phase'])[0]} is missing or of the wrong type",
            field=f"actor.meta.{(wrong or ['phase'])[0]}",
        )
    places, bundle = without_places(bundle)
    actor = _actor(bundle, spaces, given) if bundle.arrays else None
    status = LearnerStatus(*(meta[key] for key in _COUNTERS), meta["phase"] == "explore", actor is not None)
    return status, actor, places


def without_places(bundle: Bundle) -> tuple[np.ndarray, Bundle]:
    """(positions of demonstrations [N, 3], the bundle with the actor's own arrays alone). BundleError: no positions."""
    arrays = dict(bundle.arrays)
    places = np.asarray(arrays.pop(DEMONSTRATED, np.zeros((0, 3))), np.float64)
    if places.ndim != 2 or places.shape[1] != 3 or len(places) > MAX_DEMONSTRATED or not np.isfinite(places).all():
        raise BundleError(
            f"actor: {DEMONSTRATED} must be finite positions [N, 3], got {list(places.shape)}",
            field=f"actor.{DEMONSTRATED}",
        )
    return places, Bundle(bundle.kind, arrays, bundle.meta)


def read_file(path: str, spaces: Spaces, given: Encoder | None = None) -> tuple[Policy, int]:
    """(actor, version) from a file with an actor bundle. ``given``: this node's own encoder. ConfigError names the file
    and what is wrong."""
    if not path:
        text = "parameter 'actor_file' is empty; mode evaluate needs the file of an actor bundle"
        raise ConfigError(text, code=Code.NOT_GIVEN, parameter="policy_controller.actor_file")
    try:
        bundle = without_places(decode(Path(path).read_bytes(), "actor"))[1]
        return _actor(bundle, spaces, given), int(bundle.meta.get("version", -1))
    except OSError as error:
        raise ConfigError(
            f"actor_file {path}: {error.strerror}",
            code=file_fault(error),
            parameter="policy_controller.actor_file",
            file=str(path),
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"actor_file {path}: {error}",
            code=Code.UNREADABLE,
            parameter="policy_controller.actor_file",
            file=str(path),
        ) from error


def _actor(bundle: Bundle, spaces: Spaces, given: Encoder | None) -> Policy:
    actor = read_policy(bundle, given)
    try:
        require_spaces(spaces, spaces_in(bundle.meta), (actor.obs_dim, actor.act_dim), "the actor")
    except SpecError as error:
        raise BundleError.of(error, "actor", "actor") from error
    if (actor.obs_dim, actor.act_dim) != (spaces.observation.size, spaces.action.size):
        raise BundleError(
            f"actor: its weights take {actor.obs_dim} observations and give {actor.act_dim} actions",
            field="actor.spaces",
        )
    return actor
