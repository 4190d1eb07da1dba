# SPDX-License-Identifier: Apache-2.0
"""From flat parameter values, as in the tables of ``ros/parameters``, to the configurations of the algorithms.

The nodes, the one-process loop and the benchmarks all go through here, so that they mean the same by a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from erl_vlm_ros.agents.exploration import ExplorationConfig
from erl_vlm_ros.agents.learner import LearnerConfig
from erl_vlm_ros.agents.sac import SACConfig
from erl_vlm_ros.data.observation import OBSERVATION_DIM, PROPRIO_DIM
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.reward.erl_config import ErlRewardConfig
from erl_vlm_ros.reward.heads import HeadConfig
from erl_vlm_ros.reward.trainer import RewardTrainerConfig
from erl_vlm_ros.reward.trunk import TrunkConfig
from erl_vlm_ros.ros.parameters import PARAMETERS
from erl_vlm_ros.ros.params import resolve
from erl_vlm_ros.tasks import Task

C = TypeVar("C")


def node_values(node: str, task: Task, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A node's parameters: table defaults, then the task file's, then ``overrides``. ConfigError for a bad one."""
    return resolve(node, PARAMETERS[node], {**task.parameters.get(node, {}), **(overrides or {}), "task": task.name})


def learner_config(values: Mapping[str, Any], task: Task) -> LearnerConfig:
    """LearnerConfig from sac_learner's parameters."""
    changed = {name: value for name, value in _group(values, "sac.").items() if value not in (0, "profile", [0])}
    changed["average_rate"] = values["sac.average_rate"]  # here 0 means something
    if changed["average_rate"] < 0:
        del changed["average_rate"]
    for switch in ("critic_layer_norm", "backup_entropy"):
        if switch in changed:
            changed[switch] = changed[switch] == "on"
    sac = SACConfig.from_profile(values["profile"], OBSERVATION_DIM, task.action_dim, **_tuples(changed))
    own = {f.name: values[f.name] for f in fields(LearnerConfig) if f.name in values}
    selection = _build(SelectionConfig, values, "selection.")
    return LearnerConfig(sac=sac, prop_dim=PROPRIO_DIM, episode_steps=task.episode_steps, selection=selection, **own)


def reward_config(values: Mapping[str, Any], task: Task) -> RewardTrainerConfig:
    """RewardTrainerConfig from reward_trainer's parameters."""
    n = values["n_classes"] or task.n_classes
    task.class_names(n)  # refuses an n that the task does not describe
    return RewardTrainerConfig(
        recipe=values["recipe"], n_classes=n, prop_dim=PROPRIO_DIM, max_frames=values["max_frames"],
        soft_labels=values["soft_labels"],
        trunk=_build(TrunkConfig, values, "trunk."), heads=_build(HeadConfig, values, "heads."),
        erl=_build(ErlRewardConfig, values, "erl."),
    )  # fmt: skip


def exploration_config(values: Mapping[str, Any]) -> ExplorationConfig:
    """ExplorationConfig from policy_controller's parameters."""
    return ExplorationConfig.from_values(values)


def _group(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) :]: value for key, value in values.items() if key.startswith(prefix)}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _build(kind: type[C], values: Mapping[str, Any], prefix: str) -> C:
    return kind(**_tuples(_group(values, prefix)))
