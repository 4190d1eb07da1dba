# SPDX-License-Identifier: Apache-2.0
"""Algorithms behind the Agent seam that are no part of the package: they count what they are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.agents.base import Needs, Policy, options

KIND = "constant"


class ConstantPolicy:
    """The robot's side of it: one action whatever is seen."""

    def __init__(self, arrays, meta=None):
        if set(arrays) != {"action"} or arrays["action"].ndim != 1:
            raise ValueError("a constant policy is one array, action [A]")
        self.action, self.act_dim = arrays["action"].astype(np.float32), len(arrays["action"])
        self.obs_dim = int(meta["obs_dim"])

    def act(self, obs, deterministic, rng=None):
        return self.action.copy()


@dataclass(frozen=True)
class ConstantConfig:
    """``rate``: share of the way to the mean action of a batch that an update goes."""

    obs_dim: int
    act_dim: int
    rate: float = 0.5
    batch_size: int = 8


class ConstantAgent:
    """Learns the mean action of what it draws; needs neither rewards nor labels."""

    needs = Needs(rewards=False)

    def __init__(self, config, seed):
        self.config, self.action = config, np.zeros(config.act_dim, np.float32)

    @staticmethod
    def configure(values, obs_dim, act_dim):
        return ConstantConfig(obs_dim, act_dim, **options(values))

    def draw(self, batches):
        return batches.transitions(self.config.batch_size).action.numpy()

    def update(self, batches):
        mean = self.draw(batches).mean(0)
        self.action += np.float32(self.config.rate) * (mean - self.action)
        return {"first_action": float(self.action[0])}

    def policy(self):
        return Policy(KIND, {"action": self.action.copy()}, {"obs_dim": self.config.obs_dim})

    def finite(self):
        return bool(np.isfinite(self.action).all())

    def state_dict(self):
        return {"action": self.action.copy()}

    def load_state_dict(self, state):
        self.action = np.array(state["action"], np.float32)


class LabelAgent(ConstantAgent):
    """Learns the mean action of the windows that end where a label says the best class; has no reward model."""

    needs = Needs(rewards=False, labels=True, segment=2)

    def draw(self, batches):
        assert batches.windows(4, 2).action.shape == (4, 2, self.config.act_dim)
        best = max(label.value for label in batches.labels())
        return np.concatenate([label.segment.actions for label in batches.labels() if label.value == best])
