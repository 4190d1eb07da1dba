# SPDX-License-Identifier: Apache-2.0
"""What the policy controller keeps on disk: counters of the machine, random state of the policies."""

from __future__ import annotations

from pathlib import Path

from erl_vlm_ros.agents.exploration import RolloutPolicy
from erl_vlm_ros.control.episode_machine import EpisodeMachine
from erl_vlm_ros.data.checkpoint import load_state, save_state

KIND = "policy_controller"


def path_in(folder: str) -> Path:
    """The checkpoint's file in a run's checkpoint folder."""
    return Path(folder) / f"{KIND}.safetensors"


def save(folder: str, machine: EpisodeMachine, rollout: RolloutPolicy, evaluator: RolloutPolicy) -> None:
    """Write the checkpoint. Raises CheckpointError."""
    state = {
        "machine": machine.state_dict(),
        "rollout": rollout.state_dict(),
        "evaluator": evaluator.state_dict(),
    }
    save_state(path_in(folder), state, KIND)


def restore(folder: str, machine: EpisodeMachine, rollout: RolloutPolicy, evaluator: RolloutPolicy) -> None:
    """Take back what ``save`` wrote. Raises CheckpointError."""
    state = load_state(path_in(folder), KIND)
    machine.load_state_dict(state["machine"])
    rollout.load_state_dict(state["rollout"])
    evaluator.load_state_dict(state["evaluator"])
