# SPDX-License-Identifier: Apache-2.0
"""From flat parameter values, as in the tables of ``params/tables``, to the configurations of the algorithms.

The nodes, the one-process loop and the benchmarks all go through here, so that they mean the same by a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.encoders.config import EncoderConfig
from erl_vlm_ros.agents.exploration import ExplorationConfig
from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.data.spaces import IMAGES, JOINTS, RELEASED_OBSERVATION, Spaces, run_spaces
from erl_vlm_ros.feedback.kinds import kinds_named
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.by_task import check_task
from erl_vlm_ros.params.layers import flatten
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig, TrunkConfig
from erl_vlm_ros.reward.trainer import RewardTrainerConfig
from erl_vlm_ros.reward.trainer_config import SEES_SEVERAL
from erl_vlm_ros.training.image_observer import ImageObserver
from erl_vlm_ros.training.learner import LearnerConfig


def node_values(node: str, task: Task, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A node's parameters: table defaults, then the task file's, then ``overrides``. ConfigError for a bad one."""
    own = renamed.layer({name: flatten(given) for name, given in task.parameters.items()}).get(node, {})
    check_task({node: own}, f"{task.path}: parameters")
    return resolve(node, PARAMETERS[node], {**own, **(overrides or {}), "task": task.name})


def learner_config(values: Mapping[str, Any], task: Task, spaces: Spaces | None = None) -> LearnerConfig:
    """LearnerConfig from learner's parameters.

    ``spaces``: of the episodes; None: those of a six-joint arm, as the simulated one. ConfigError: the agent or the
    encoder does not fit them.
    """
    spaces = _six_joints(values, task) if spaces is None else spaces
    encoder = from_values(EncoderConfig, values, "encoder.") if values["observe"] == IMAGES else None
    channels = tuple(values["trunk.channels"]) if encoder is not None else ()
    cameras = _chosen(values["policy_cameras"], spaces, "learner.policy_cameras") if encoder is not None else ()
    seen = spaces if encoder is None else ImageObserver(encoder, channels, spaces, cameras).spaces
    sizes = (seen.observation.size, seen.action.size)
    agent = AgentSpec.from_values(values, *sizes, seen.action)
    own = {f.name: values[f.name] for f in fields(LearnerConfig) if f.name in values}
    selection = from_values(SelectionConfig, values, "selection.")
    return LearnerConfig(
        agent, *sizes, spaces.observation.proprio_size, spaces=spaces, episode_steps=task.episode_steps,
        selection=selection, encoder=encoder, trunk_channels=channels, trunk_image_size=values["trunk.image_size"],
        seen_cameras=cameras, **own,
    )  # fmt: skip


def reward_config(values: Mapping[str, Any], task: Task, spaces: Spaces | None = None) -> RewardTrainerConfig:
    """RewardTrainerConfig from reward_trainer's parameters. ``spaces``: as of learner_config."""
    spaces = _six_joints(values, task) if spaces is None else spaces
    first, *others = (kind.part for kind in kinds_named(values["feedback"]))
    n = len(first.classes(task, values["n_classes"] or 0))
    cameras = _chosen(values["reward_cameras"], spaces, "reward_trainer.reward_cameras")
    if values["reward_cameras"] is None and values["reward_model"] != SEES_SEVERAL:
        cameras = cameras[:1]
    return RewardTrainerConfig(
        reward_model=values["reward_model"], objective=values["objective"], n_classes=n,
        cameras=cameras, segments=first.size,
        compared=next(((kind.name, len(kind.classes(task))) for kind in others), None),
        prop_dim=spaces.observation.proprio_size, spaces=spaces,
        max_frames=values["max_frames"], soft_labels=values["soft_labels"],
        trunk=from_values(TrunkConfig, values, "trunk."), heads=from_values(HeadConfig, values, "heads."),
        erl=from_values(ErlRewardConfig, values, "erl."),
    )  # fmt: skip


def _chosen(names: Sequence[str] | None, spaces: Spaces, key: str) -> tuple[str, ...]:
    """The cameras of a parameter, by default all. ConfigError: one that the episodes do not hold."""
    known = spaces.observation.cameras
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(
            f"{key}: '{unknown[0]}' is none of the cameras {', '.join(known) or '(there are no named ones)'}",
            parameter=key,
        )
    return known if names is None else tuple(names)


def exploration_config(values: Mapping[str, Any]) -> ExplorationConfig:
    """ExplorationConfig from policy_controller's parameters."""
    return from_values(ExplorationConfig, values, "exploration.")


def _six_joints(values: Mapping[str, Any], task: Task) -> Spaces:
    joints = RELEASED_OBSERVATION.part(JOINTS).size
    return run_spaces({**values, "joint_names": joints, "gripper_joints": ["measured"]}, task)
