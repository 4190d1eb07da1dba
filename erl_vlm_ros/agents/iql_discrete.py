# SPDX-License-Identifier: Apache-2.0
"""Implicit Q-learning with discrete actions, as ERL-VLM learns ALFRED (arXiv 2506.12822).

The critics tell the value of every move at once; the actor is cloned by cross-entropy, weighted by advantage. With an
object head (data/choices.py) the critics know every pair of action and object, while the actor's two heads are
independent given the observation; the object's head learns from actions that take one alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from erl_vlm_ros.agents.base import NEEDS, Needs, Policy
from erl_vlm_ros.agents.iql import IqlAgent
from erl_vlm_ros.agents.networks import Record
from erl_vlm_ros.agents.offline_config import DiscreteIqlConfig
from erl_vlm_ros.agents.saved import require_saved
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.choices import Moves, is_choice
from erl_vlm_ros.data.spaces import ActionSpec


class DiscreteIqlAgent(IqlAgent):
    """Twin critics over all moves, their expectile as value, and a categorical actor."""

    needs: ClassVar[Needs] = NEEDS["iql_discrete"]

    def __init__(self, config: DiscreteIqlConfig, seed: int):
        self.moves = Moves(config.takes, config.act_dim - len(config.takes))
        self._takes = torch.tensor(self.moves.takes, dtype=torch.float32)
        super().__init__(config, seed)

    @staticmethod
    def configure_choices(values: Mapping[str, Any], obs_dim: int, action: ActionSpec | None) -> DiscreteIqlConfig:
        """From the parameters ``iql.*`` and the action's spec. ConfigError: it has no choice."""
        if action is None or not is_choice(action):
            text = f"learner.algorithm is 'iql_discrete', but the task's action is no choice: {action}"
            raise ConfigError(text, parameter="learner.algorithm", code=Code.DOES_NOT_FIT)
        moves = Moves.of(action)
        return from_values(
            DiscreteIqlConfig, values, "iql.", obs_dim=obs_dim, act_dim=moves.size, takes=moves.takes, balance=False
        )

    def _critic_sizes(self) -> tuple[int, int]:
        return self.config.obs_dim, len(self.moves)

    def _q(self, name: str, obs: torch.Tensor, action: torch.Tensor) -> tuple[list[torch.Tensor], Record]:
        values, record = self.networks[name].forward(obs)
        done = self._done(action)
        return [v.gather(1, done) for v in values], record

    def _critic_step(self, record: Record, slopes: list[torch.Tensor], action: torch.Tensor) -> None:
        done = self._done(action)
        spread = [torch.zeros(len(s), len(self.moves)).scatter_(1, done, s) for s in slopes]
        super()._critic_step(record, spread, action)

    def _done(self, action: torch.Tensor) -> torch.Tensor:
        """The moves int64 [B, 1] of actions [B, K + M]."""
        return torch.from_numpy(self.moves.numbers(action.numpy())).unsqueeze(1)

    def _clone(self, obs: torch.Tensor, action: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """A step of the actor on the mean of weight [B] times -log pi(move | observation); gives the plain ones [B]."""
        actor, count = self.networks["actor"], len(self.moves.takes)
        (logits,), record = actor.forward(obs)
        chosen = torch.nn.functional.one_hot(action[:, :count].argmax(1), count).float()
        log_p = torch.log_softmax(logits[:, :count], 1)
        lost, slopes = -(chosen * log_p).sum(1), [log_p.exp() - chosen]
        if self.moves.objects:
            counts = (chosen @ self._takes).unsqueeze(1)  # 1 where the action takes an object
            thing = torch.nn.functional.one_hot(action[:, count:].argmax(1), self.moves.objects).float()
            log_o = torch.log_softmax(logits[:, count:], 1)
            lost = lost - counts.squeeze(1) * (thing * log_o).sum(1)
            slopes.append(counts * (log_o.exp() - thing))
        actor.backward(record, [torch.cat(slopes, 1) * weight.unsqueeze(1) / len(obs)])
        self._actor_step()
        return lost

    def policy(self) -> Policy:
        """The running mean of the actor."""
        out: dict[str, np.ndarray] = {"takes": np.array(self.moves.takes, np.uint8)}
        for i, (weight, bias) in enumerate(self._averaged()):
            weight, bias = self.normaliser.inside(weight, bias) if i == 0 else (weight, bias)
            out[f"w{i}"], out[f"b{i}"] = weight.astype(np.float32), bias.astype(np.float32)
        return Policy("categorical", out)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore in place. ConfigError when the saved networks have other sizes or moves."""
        require_saved(state["config"], self.config, ("takes",))
        super().load_state_dict(state)
