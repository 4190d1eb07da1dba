# SPDX-License-Identifier: Apache-2.0
"""What a `Learner` leaves in a checkpoint, and how one begins from it: its own, or that of a run on recordings."""

from __future__ import annotations

from typing import Any

from erl_vlm_ros.agents.base import Needs
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.saved_labels import load_labels, save_labels

_COUNTERS = ("phase", "env_steps", "episodes", "version", "last_return", "ended_at")
_PARTS = ("replay", "schedule", "pacer", "picker", "relabeller")  # each with a state of its own


def saved(learner: Any) -> dict[str, Any]:
    """Agent, buffer, labels, counters and random state; the reward model as its bundle."""
    return {
        "algorithm": learner.config.agent.algorithm,
        "agent": learner.agent.state_dict(),
        "rng": learner.rng.bit_generator.state,
        "batch_rng": learner.batch_rng.bit_generator.state,
        "counters": {name: getattr(learner, name) for name in _COUNTERS},
        **{name: getattr(learner, name).state_dict() for name in _PARTS},
        "labels": save_labels(learner.labels),
        "images": None if learner.images is None else learner.images.state_dict(),
    }


def restore(learner: Any, state: dict[str, Any]) -> None:
    """Bring ``learner`` to a state that ``saved`` gave.

    Where a run goes on in the world from recordings, another algorithm may take over that learns from rewards as well:
    it learns from the buffer first (``config.offline_updates``; 0: an update for each transition). An agent with
    ``take_over`` is given the other's state before, and how many updates these are.

    Raises:
        ConfigError: the state is of another algorithm, which this one cannot take over from, or of other sizes.
    """
    config = learner.config
    other = state["algorithm"] != config.agent.algorithm
    if other and not _takes_over(learner, state):
        text = (
            f"the checkpoint is of the algorithm '{state['algorithm']}', learner.algorithm is "
            f"'{config.agent.algorithm}': set it back, or begin a new run"
        )
        raise ConfigError(text, parameter="learner.algorithm", code=Code.DOES_NOT_FIT)
    if not other:
        learner.agent.load_state_dict(state["agent"])
    if learner.images is not None:
        learner.images.load_state_dict(state["images"])
    learner.rng.bit_generator.state, learner.batch_rng.bit_generator.state = state["rng"], state["batch_rng"]
    for name in _COUNTERS:
        setattr(learner, name, state["counters"].get(name, getattr(learner, name)))
    for name in _PARTS:
        getattr(learner, name).load_state_dict(state[name])
    learner.labels.clear()
    learner.labels.extend(load_labels(state["labels"]))
    if config.live and learner.ended_at is not None:  # learned from recordings, and now goes on in the world
        learner.ended_at = None
        learner.schedule.hasten(learner.env_steps + config.round_steps)
        if other:
            _take_over(learner, state["agent"])


def _takes_over(learner: Any, state: dict[str, Any]) -> bool:
    """Whether the state is one of recordings, with rewards, that the learner's agent can begin anew with."""
    from_recordings = learner.config.live and state["counters"].get("ended_at") is not None
    rewarded = state["relabeller"]["model"] is not None
    return from_recordings and rewarded and learner.agent.needs == Needs()


def _take_over(learner: Any, agent: dict[str, Any]) -> None:
    learner.pacer.grant(learner.config.offline_updates or len(learner.replay))
    if hasattr(learner.agent, "take_over"):
        learner.agent.take_over(agent, int(learner.pacer.pending_updates))
