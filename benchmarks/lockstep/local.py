# SPDX-License-Identifier: Apache-2.0
"""The one-process loop's part of a lock-step record: rounds of ratings during learning, which the graph's part sets
aside because there they depend on timing. Rated from ground truth with a fifth of the answers wrong.

The only part that imports the package; where its names stood and stand is told in MODULES.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lockstep import items

# Name -> modules that hold or held it, newest first.
MODULES = {
    **dict.fromkeys(("LocalConfig", "LocalLoop", "TruthTeacher"), ("erl_vlm_ros.training.local", "erl_vlm_ros.local")),
    **dict.fromkeys(
        ("exploration_config", "learner_config", "node_values", "reward_config"),
        ("erl_vlm_ros.training.configs", "erl_vlm_ros.settings"),
    ),
    "load_task": ("erl_vlm_ros.common.tasks", "erl_vlm_ros.tasks"),
}
LEARNER_NODES = ("learner", "sac_learner")
ERROR_RATE = 0.2


def rounds_of(steps: int) -> dict[str, Any]:
    """Parameters of the learner: exploration for a quarter of the steps, then a round every twelfth."""
    return {
        "warmup_steps": max(steps // 4, 50),
        "round_steps": max(steps // 12, 50),
        "first_ratings": max(steps // 20, 20),
        "round_ratings": max(steps // 60, 10),
        "max_warmup_steps": max(steps // 2, 50),
    }


def find(name: str) -> Any:
    """The object of this name, wherever it stands now. ImportError names the modules tried."""
    for module in MODULES[name]:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"{name} is in none of {', '.join(MODULES[name])}: add its module to {__file__}")


def record(task_name: str, seed: int, steps: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Sections ``local_rounds`` (what was asked and answered), ``local_models`` and ``local_end``.

    Of ``settings`` ("NODE.PARAMETER" -> value) those of learner and reward_trainer count.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = find("load_task")(task_name)
    given = {"learner": rounds_of(steps), "reward_trainer": {}}
    for name, value in (settings or {}).items():
        node, _, parameter = name.partition(".")
        given.setdefault(node, {})[parameter] = value
    config = find("LocalConfig")(
        learner=find("learner_config")(_learner_values(task, given["learner"]), task),
        reward=find("reward_config")(find("node_values")("reward_trainer", task, given["reward_trainer"]), task),
        exploration=find("exploration_config")(find("node_values")("policy_controller", task)),
        max_steps=steps,
        eval_every=max(steps // 3, 1),
        eval_episodes=5,
    )
    rounds: dict[str, Any] = {}
    models: dict[str, Any] = {}
    loop = None

    def teacher(truth: Any) -> Any:
        rate = find("TruthTeacher")(truth, config.reward.n_classes, ERROR_RATE, seed)

        def listen(batch: Any) -> Any:
            # What came of the round before has just been used: the whole buffer carries its rewards.
            _note(models, loop)
            answer = rate(batch)
            bundle = answer.to_bundle()
            rounds[str(answer.round)] = {
                "at": loop.learner.episodes,
                "arrays": items.fingerprints(bundle.arrays),
                "meta": items.flat(bundle.meta),
            }
            return answer

        return listen

    loop = find("LocalLoop")(task, config, seed, teacher)
    out = loop.run()
    _note(models, loop)
    end = {
        "learner": items.state(loop.learner.state_dict()),
        "reward_trainer": items.state(loop.trainer.state_dict()),
        "summary": items.flat({k: v for k, v in out.items() if k != "seconds"}),
    }
    return {"local_rounds": rounds, "local_models": models, "local_end": end}


def _policy(learner: Any) -> Any:
    """Arrays of the policy; version 0.1 knew one algorithm."""
    return learner.agent.policy().arrays if hasattr(learner, "agent") else learner.sac.actor_arrays()


def _note(models: dict[str, Any], loop: Any) -> None:
    """The reward model in use and what it makes of the buffer."""
    model = loop.learner.model
    if model is not None:
        bundle = model.to_bundle()
        models[str(model.version)] = {
            "at": loop.learner.episodes,
            "arrays": items.fingerprints(bundle.arrays),
            "meta": items.flat(bundle.meta),
            "rewards": items.fingerprint(loop.learner.replay.rewards),
            "actor": items.together(items.fingerprints(_policy(loop.learner))),
        }


def _learner_values(task: Any, changed: Mapping[str, Any]) -> dict[str, Any]:
    for node in LEARNER_NODES:
        try:
            return find("node_values")(node, task, changed)
        except KeyError:
            continue
    raise ImportError(f"no node of these has parameters: {', '.join(LEARNER_NODES)}; add its name to {__file__}")
