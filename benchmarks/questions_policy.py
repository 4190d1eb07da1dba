# SPDX-License-Identifier: Apache-2.0
"""The open questions at the level of the policy: whole runs of the one-process loop with a scripted teacher, and where
the policy's time goes against where the teacher is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from questions_tables import Run

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import NO_LABEL
from erl_vlm_ros.data.spaces import EE_POSITION
from erl_vlm_ros.feedback.noise_model import NoiseModel, view_cluster
from erl_vlm_ros.feedback.teacher_configs import AuditConfig, ScriptedConfig
from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
from erl_vlm_ros.feedback.teachers.base import QuerywiseTeacher, Round
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher, noise_model_of
from erl_vlm_ros.training.configs import exploration_config, learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, Truth

AUDITOR_ERRORS = 0.05  # independent: a person is wrong now and then
EPISODES = 20  # of the final policy, for the map
QUICK_REWARD = {"trunk.first_iterations": 20, "trunk.iterations": 10, "heads.iterations": 20}
QUICK = {"warmup_steps": 100, "max_warmup_steps": 150, "first_ratings": 20, "round_steps": 100, "round_ratings": 10}


class TruthfulRater(QuerywiseTeacher):
    """Answers at once from the truth, with the errors of a ScriptedTeacher. ``withhold``: in so many rounds what is
    truly of the top class gets no rating."""

    def __init__(self, truth: Truth, errors: ScriptedTeacher, withhold: int = 0) -> None:
        super().__init__("scripted", errors.class_names)
        self._truth, self._errors, self._withhold = truth, errors, withhold

    def _begin(self, here: Round) -> None:
        for index, query in enumerate(here.queries):
            true = self._truth.at(query[-1])
            right = int(true[f"class_{self.n_classes}"])
            if here.number < self._withhold and right == self.n_classes - 1:
                self._answer(here, index, NO_LABEL, "withheld")
            else:
                self._answer(here, index, self._errors.judge(query, right, int(true["class_5"])))


def policy_run(row: Run, task_name: str, seed: int, quick: bool) -> dict[str, Any]:
    """One run: success, and the map of the teacher's bias and the policy's time."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = load_task(task_name)
    reward = row.reward | ({"n_classes": row.n_classes} if row.n_classes else {}) | (QUICK_REWARD if quick else {})
    config = LocalConfig(
        learner=learner_config(node_values("learner", task, QUICK if quick else {}), task),
        reward=reward_config(node_values("reward_trainer", task, reward), task),
        exploration=exploration_config(node_values("policy_controller", task)), max_steps=row.steps,
        eval_every=row.steps if quick else 1000, eval_episodes=1 if quick else 20,
    )  # fmt: skip
    names = task.class_names(config.reward.n_classes)
    errors = ScriptedConfig(error_rate=row.error_rate, errors=row.errors, systematic_rate=row.systematic, seed=seed)
    auditor = ScriptedTeacher(ScriptedConfig(error_rate=AUDITOR_ERRORS, seed=seed + 1), task.name, names)
    audited: list[AuditedTeacher] = []

    def teacher(truth: Truth) -> Any:
        rater = TruthfulRater(truth, ScriptedTeacher(errors, task.name, names), row.withhold)
        if not row.audits:
            return rater.label_batch
        audited.append(AuditedTeacher(rater, TruthfulRater(truth, auditor), AuditConfig(share=row.audits)))
        return audited[0].label_batch

    loop = LocalLoop(task, config, seed, teacher, lambda said: print(row.name, seed, said, flush=True))
    out = loop.run()
    figures = audited[0].stats() if audited else {}
    return {
        "row": row.name, "seed": seed, "success": out["success_rate"], "history": out["history"],
        "ratings": out["ratings_valid"], "right": out["rating_accuracy"], "minutes": round(out["wall_s"] / 60, 2),
        "audits": {k: v for k, v in figures.items() if k.startswith("audit_")},
        **where_time_goes(loop, errors, seed, 1 if quick else EPISODES),
    }  # fmt: skip


def where_time_goes(loop: LocalLoop, errors: ScriptedConfig, seed: int, episodes: int) -> dict[str, Any]:
    """Mean bias of the teacher (classes too high, of five) over the frames of exploration, of the last fifth of the run
    and of the final policy; and by cell of the end effector and true state: bias and the policy's share of time.

    The bias is that of a teacher with a fifth of the clusters misjudged of this seed, also where another one taught:
    the time of a policy that it did not teach is the comparison.
    """
    model = noise_model_of(errors, 5, loop.task.name)
    if not errors.systematic_rate:
        model = NoiseModel.uniform(5, 0.0, 0.2)
    spec = loop.spaces.observation.slice(EE_POSITION)

    def biased(positions: np.ndarray, levels: np.ndarray) -> tuple[list[str], np.ndarray]:
        cells = [view_cluster(p, int(level), cell_m=model.cell_m) for p, level in zip(positions, levels)]
        bias = [model.judged(int(level), cell, seed) - int(level) for cell, level in zip(cells, levels)]
        return cells, np.array(bias, float)

    played = [loop.play(index) for index in range(episodes)] if loop.learner.model is not None else []
    positions = loop.learner.replay.frame_observations[:, spec]
    levels = np.concatenate([loop.truth.classes[e][:, 5] for e in sorted(loop.truth.classes)])[-len(positions) :]
    first, last = slice(0, loop.config.learner.warmup_steps), slice(-max(len(levels) // 5, 1), None)
    out: dict[str, Any] = {
        "bias_explore": float(biased(positions[first], levels[first])[1].mean()),
        "bias_late": float(biased(positions[last], levels[last])[1].mean()),
    }
    if not played:
        return out
    place = np.concatenate([episode.episode.observations[1:, spec] for episode in played])
    level = np.concatenate([episode.classes[1:, 5] for episode in played])
    cells, bias = biased(place, level)
    time = Counter(cells)
    known = dict(zip(cells, bias)) | dict(zip(*biased(positions, levels)))
    return out | {
        "bias_policy": float(bias.mean()),
        "cells": {cell: [round(b, 2), round(time[cell] / len(cells), 4)] for cell, b in known.items()},
        "frames": [[*np.round(p, 3).tolist(), int(c), float(b)] for p, c, b in zip(place, level, bias)][::2],
    }
