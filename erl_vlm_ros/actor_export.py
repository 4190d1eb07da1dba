# SPDX-License-Identifier: Apache-2.0
"""The policy of a run directory as an actor bundle, from the learner's checkpoint."""

from __future__ import annotations

from pathlib import Path

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.overlay import read_parameter_file
from erl_vlm_ros.ros.bundle import encode
from erl_vlm_ros.ros.parameters import PARAMETERS
from erl_vlm_ros.ros.params import resolve
from erl_vlm_ros.rundir import atomic_write
from erl_vlm_ros.tasks import load_task

NODE = "sac_learner"


def export_actor(run: Path, path: Path) -> int:
    """Write the actor of ``run/checkpoint/sac_learner.safetensors`` to ``path``; returns its steps.

    Raises:
        ConfigError: no checkpoint, a damaged one, or one from before learning began.
    """
    from erl_vlm_ros.agents.learner import EXPLORE, Learner
    from erl_vlm_ros.data.checkpoint import CheckpointError, load_state
    from erl_vlm_ros.settings import learner_config

    source = run / "checkpoint" / f"{NODE}.safetensors"
    if not source.is_file():
        raise ConfigError(
            f"{run} holds no policy yet ({source.name} is missing); let it run until a checkpoint is there"
        )
    task = load_task(run / "config" / "task.yaml")
    stored = read_parameter_file(run / "config" / f"{NODE}.yaml").get(NODE, {})
    learner = Learner(learner_config(resolve(NODE, PARAMETERS[NODE], stored), task), 0)
    try:
        learner.load_state_dict(load_state(source, NODE))
    except (CheckpointError, KeyError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error
    if learner.phase == EXPLORE:
        raise ConfigError(f"{run} was stopped while exploring ({learner.env_steps} steps): there is no policy yet")
    atomic_write(path, encode(learner.actor_bundle()))
    return learner.env_steps
