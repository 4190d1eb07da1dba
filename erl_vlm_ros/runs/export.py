# SPDX-License-Identifier: Apache-2.0
"""The policy of a run directory as an actor bundle, from the learner's checkpoint."""

from __future__ import annotations

from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.bundle import Bundle, encode
from erl_vlm_ros.data.spaces import JOINTS, RELEASED_OBSERVATION, episode_spaces, spaces_in, spaces_of
from erl_vlm_ros.params.layers import read_parameter_file
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.tables import PARAMETERS

NODE = "learner"
FORMATS = {"torchscript": "pt", "onnx": "onnx"}  # of ``erl-vlm export``, with their files' endings


def export_actor(run: Path, path: Path) -> int:
    """Write the policy in the learner's checkpoint of ``run`` to ``path``; returns its steps. ConfigError: as
    trained_actor."""
    bundle, steps = trained_actor(run)
    atomic_write(path, encode(bundle))
    return steps


def trained_actor(run: Path) -> tuple[Bundle, int]:
    """The actor bundle of the learner's checkpoint of ``run``, and its steps.

    Raises:
        ConfigError: no checkpoint, a damaged one, or one from before learning began.
    """
    from erl_vlm_ros.data.checkpoint import CheckpointError
    from erl_vlm_ros.training.configs import learner_config
    from erl_vlm_ros.training.learner import EXPLORE, Learner

    source = learner_state.find(run / "checkpoint")
    if source is None:
        missing = learner_state.path_in("").name
        text = f"{run} holds no policy yet ({missing} is missing); let it run until a checkpoint is there"
        raise ConfigError(text, code=Code.MISSING_FILE, file=str(run))
    task = load_task(run / "config" / "task.yaml")
    files = [run / "config" / f"{kind}.yaml" for kind in learner_state.KINDS]
    stored = read_parameter_file(next((file for file in files if file.exists()), files[0])).get(NODE, {})
    try:
        state = learner_state.load(source.parent)
        # Version 0.1 wrote no spaces: it had one layout.
        spaces = spaces_in(state["replay"]) or spaces_of(task, RELEASED_OBSERVATION.part(JOINTS).size)
        spaces = episode_spaces(spaces)
        learner = Learner(learner_config(resolve(NODE, PARAMETERS[NODE], stored), task, spaces), 0)
        learner.load_state_dict(state)
    except (CheckpointError, KeyError, ValueError) as error:
        raise ConfigError(f"{source}: {error}", code=Code.UNREADABLE, file=str(source)) from error
    if learner.phase == EXPLORE:
        text = f"{run} was stopped while exploring ({learner.env_steps} steps): there is no policy yet"
        raise ConfigError(text, code=Code.NOT_GIVEN, file=str(run))
    return learner.actor_bundle(), learner.env_steps
