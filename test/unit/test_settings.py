# SPDX-License-Identifier: Apache-2.0
import dataclasses

from refusals import refused

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.exploration import ExplorationConfig
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.selection import SelectionConfig
from erl_vlm_ros.data.spaces import spaces_of
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
from erl_vlm_ros.training.learner import LearnerConfig

TASK = load_task("drawer_open")


def test_table_defaults_are_the_classes_defaults():
    """Two places hold a default; they may not drift apart."""
    learner = learner_config(node_values("learner", dataclasses.replace(TASK, parameters={})), TASK)
    sac = SACConfig.from_profile("fast", 19, 3)
    assert learner == LearnerConfig(
        AgentSpec("sac", sac), 19, 3, 10, spaces=spaces_of(TASK, 6), episode_steps=TASK.episode_steps
    )
    assert (
        exploration_config(node_values("policy_controller", dataclasses.replace(TASK, parameters={})))
        == ExplorationConfig()
    )
    reward = reward_config(node_values("reward_trainer", dataclasses.replace(TASK, parameters={})), TASK)
    assert (reward.trunk, reward.heads, learner.selection) == (TrunkConfig(), HeadConfig(), SelectionConfig())


def test_overrides_and_the_parity_profile():
    values = node_values(
        "learner", TASK, {"profile": "erl_vlm_parity", "sac.gamma": 0.9, "sac.critic_layer_norm": "on"}
    )
    sac = learner_config(values, TASK).agent.config
    assert (sac.hidden, sac.batch_size, sac.gamma, sac.critic_layer_norm) == ((256, 256, 256), 512, 0.9, True)
    values = node_values("reward_trainer", TASK, {"reward_model": "erl_vlm", "n_classes": 3, "erl.loss": "ce"})
    assert reward_config(values, TASK).erl.loss == "ce" and reward_config(values, TASK).erl.n_classes == 3


def test_task_file_overrides_are_checked():
    task = dataclasses.replace(TASK, parameters={"learner": {"warmup_step": 3}})
    with refused(
        ConfigError, parameter="learner.warmup_step", code=Code.NOT_BY_TASK, file=TASK.path, shows="warmup_steps"
    ):
        node_values("learner", task)
