# SPDX-License-Identifier: Apache-2.0
"""What an algorithm is to the rest of the package: it draws batches, updates itself, and exports its policy.

To add one, write a class with the methods of ``Agent`` and the class methods of ``AgentType``, and enter it in
``AGENTS`` under the name that the parameter ``algorithm`` of the node ``learner`` then takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.common.yaml_file import parse_yaml
from erl_vlm_ros.data.choices import is_choice
from erl_vlm_ros.data.query import Label
from erl_vlm_ros.data.spaces import ActionSpec

if TYPE_CHECKING:  # torch: the graph is described without it
    from erl_vlm_ros.data.replay import TransitionBatch, WindowBatch


@dataclass(frozen=True)
class Needs:
    """What an algorithm learns from beside observations and actions.

    ``rewards``: of every transition; they come from a reward model, or with the episodes. ``labels``: the answers
    of the teacher themselves. With neither, nothing is asked and no reward model is waited for. ``segment``: the
    shortest stretch of steps that it draws at once; 1: single transitions. ``feedback``: the one kind of feedback that
    it can learn from; empty: any.
    """

    rewards: bool = True
    labels: bool = False
    segment: int = 1
    feedback: str = ""


#: of our own algorithms: a graph is described without loading them
NEEDS = {
    "sac": Needs(),
    "iql": Needs(),
    "iql_discrete": Needs(),
    "bc": Needs(rewards=False),
    "bc_rated": Needs(),
    "cpl": Needs(rewards=False, labels=True, feedback="preference"),
}


DISCRETE = "iql_discrete"


@dataclass(frozen=True)
class Policy:
    """A policy as it travels to the robot: ``kind`` names the reader in ``erl_vlm_ros.control.policies``."""

    kind: str
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Batches(Protocol):
    """Where an agent draws from; each call draws anew, with the learner's own generator."""

    def transitions(self, count: int) -> TransitionBatch:
        """``count`` transitions, with replacement."""

    def best(self, count: int, share: float) -> TransitionBatch:
        """``count`` transitions of the ``share`` of the episodes with the highest mean reward, with replacement."""

    def windows(self, count: int, length: int) -> WindowBatch:
        """``count`` stretches of ``length`` steps, each within an episode, with replacement."""

    def among(self, segments: Sequence[str], count: int) -> TransitionBatch | None:
        """``count`` transitions of the steps that led to the frames of segments, by their ids, with replacement; None
        when the buffer holds none of them any more."""

    def stretch(self, segment: str) -> tuple[np.ndarray, np.ndarray] | None:
        """(observations [H, O], actions [H, A]) of the steps that led to the frames of a segment, by its id; None when
        the buffer does not hold them any more."""

    def labels(self) -> Sequence[Label]:
        """All valid labels so far, oldest first; only for an agent that needs them."""


class Agent(Protocol):
    """An algorithm with its networks. Seeded: equal seeds and batches give equal numbers.

    One that can begin with another algorithm's policy has ``take_over(state, held)`` beside: the other's saved state,
    and how many updates will come before the first step, in which what it does is to stay as it is.
    """

    needs: ClassVar[Needs]

    def update(self, batches: Batches) -> Mapping[str, float]:
        """One update; figures for the charts, which may be computed when they are read."""

    def policy(self) -> Policy:
        """The policy as it is now, in copies."""

    def finite(self) -> bool:
        """Whether every weight is a finite number: else learning has diverged and nothing is worth keeping."""

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on, as ``data.checkpoint`` can save it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what state_dict gave. ConfigError when it does not fit this agent."""


class AgentType(Protocol):
    """The class of an agent."""

    needs: ClassVar[Needs]

    def configure(self, values: Mapping[str, Any], obs_dim: int, act_dim: int) -> Any:
        """The configuration, from the parameters of the node ``learner``. ConfigError names the parameter."""

    def __call__(self, config: Any, seed: int) -> Agent:
        """An untrained agent. One for discrete actions has ``configure_choices(values, obs_dim, action)`` beside, with
        the action's spec."""


AGENTS: Registry[AgentType] = Registry(
    "algorithm",
    {
        "sac": "erl_vlm_ros.agents.sac_agent:SacAgent",
        "iql": "erl_vlm_ros.agents.iql:IqlAgent",
        "iql_discrete": "erl_vlm_ros.agents.iql_discrete:DiscreteIqlAgent",
        "bc": "erl_vlm_ros.agents.bc:BcAgent",
        "bc_rated": "erl_vlm_ros.agents.bc_rated:RatedBcAgent",
        "cpl": "erl_vlm_ros.agents.cpl:CplAgent",
    },
)


def needs_of(algorithm: str) -> Needs:
    """What an algorithm learns from. ConfigError: it is unknown, or cannot be loaded."""
    AGENTS.check(algorithm, "learner.algorithm")
    return NEEDS[algorithm] if algorithm in NEEDS else AGENTS.load(algorithm).needs


def options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter ``algorithm_options`` as a mapping: settings of an algorithm that has no parameters of its own.

    Raises:
        ConfigError: it is no YAML mapping from names.
    """
    where = "learner.algorithm_options"
    found = parse_yaml(values["algorithm_options"] or "{}", where, parameter=where)[0]
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(f"{where} must be a YAML mapping, for instance {{rate: 0.1}}", parameter=where)
    return found


def fitting(name: str, action: ActionSpec | None) -> str:
    """The algorithm for such actions: with discrete ones the default ``sac``, which has no such form here, and ``iql``
    are ``iql_discrete``. ConfigError: one of ours that cannot take them."""
    discrete = is_choice(action)
    if discrete and name in ("sac", "iql"):
        return DISCRETE
    if name in NEEDS and discrete != (name == DISCRETE):
        has = "discrete actions" if discrete else "actions of numbers"
        text = f"learner.algorithm is '{name}', but the task has {has}: choose {'iql' if discrete else 'sac or iql'}"
        raise ConfigError(text, parameter="learner.algorithm", code=Code.DOES_NOT_FIT)
    return name


@dataclass(frozen=True)
class AgentSpec:
    """An algorithm by name with its configuration."""

    algorithm: str
    config: Any

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], obs_dim: int, act_dim: int, action: ActionSpec | None = None
    ) -> AgentSpec:
        """From the parameters of the node ``learner``.

        Args:
            action: what the agent does; None: numbers in [-1, 1]. With a discrete one ``sac`` and ``iql`` are
                ``iql_discrete``.

        Raises:
            ConfigError: an unknown algorithm, a bad value, or an algorithm of ours that cannot take such actions.
        """
        name = fitting(values["algorithm"], action)
        kind = AGENTS.load(name)
        try:
            if hasattr(kind, "configure_choices"):
                return cls(name, kind.configure_choices(values, obs_dim, action))
            return cls(name, kind.configure(values, obs_dim, act_dim))
        except TypeError as error:  # a setting that its configuration does not have
            raise ConfigError(f"algorithm '{name}': {error}", parameter="learner.algorithm_options") from error

    def make(self, seed: int) -> Agent:
        """The agent, untrained."""
        return AGENTS.load(self.algorithm)(self.config, seed)
