# SPDX-License-Identifier: Apache-2.0
"""The learner's checkpoint in a run's checkpoint folder, also where an older version of the package wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KIND = "learner"
_OLD_KIND = "sac_learner"  # version 0.1
KINDS = (KIND, _OLD_KIND)


def path_in(folder: str | Path) -> Path:
    """Where the learner saves."""
    return Path(folder) / f"{KIND}.safetensors"


def find(folder: str | Path) -> Path | None:
    """The newest file to go on from; None: nothing was saved."""
    files = (Path(folder) / f"{kind}.safetensors" for kind in KINDS)
    return next((file for file in files if file.exists()), None)


def load(folder: str | Path) -> dict[str, Any]:
    """The learner's state, whichever version saved it.

    Raises:
        CheckpointError: no file, or a damaged one.
    """
    from erl_vlm_ros.data.checkpoint import load_state  # imports torch: only when needed

    path = find(folder) or path_in(folder)
    state = load_state(path, path.stem)
    return upgraded(state) if "sac" in state else state


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it is saved now, from the one flat form of version 0.1."""
    old = state["counters"]
    schedule = {
        "requested": old["ratings_requested"],
        "refunded": old["refunded"],
        "sent": old["rounds_sent"],
        "done": old["rounds_done"],
        "next_at": old["next_round_at"],
        "pending": state["pending"],
    }
    return {
        "algorithm": "sac",
        "agent": state["sac"],
        **{key: state[key] for key in ("replay", "rng", "batch_rng")},
        "counters": {key: old[key] for key in ("phase", "env_steps", "episodes", "version", "last_return")},
        "schedule": schedule,
        "pacer": {"pending_updates": old["owed"], "done": old["updates"]},
        "picker": {"asked": state["rated"]},
        "relabeller": {"model": state["model"]},
        "labels": None,
    }
