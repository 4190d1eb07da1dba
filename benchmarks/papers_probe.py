# SPDX-License-Identifier: Apache-2.0
"""How good a reward model is, whatever the policy does: its rewards of frames that no run has seen."""

from __future__ import annotations

from typing import Any

import numpy as np

DEMOS, WAYS, EVERY = 8, 8, 5  # episodes of the rough demonstrator and of exploration; every 5th frame of them
SEED = 2_000_000  # of the placements and the drives: neither training's nor the evaluation's


class HeldOut:
    """Frames of a task with their truth, the same in all runs of it."""

    def __init__(self, arm: Any, task: Any, spaces: Any, exploration: Any) -> None:
        """``arm``: a simulated one of the task, which is borrowed; the others as LocalLoop has them."""
        from erl_vlm_ros.agents.exploration_choice import rollout_policy
        from erl_vlm_ros.sim.demonstrator import rough_demonstrator

        explorer = rollout_policy(exploration, task, spaces, SEED)
        jpegs, proprio, progress, classes = [], [], [], []
        for i in range(DEMOS + WAYS):
            demo = rough_demonstrator(task, SEED, i) if i < DEMOS else None
            done = driven(arm, task, spaces, explorer, demo, SEED + i, i, evaluation=True)
            shown = slice(i % EVERY, None, EVERY)
            jpegs += done.episode.jpegs[shown]
            proprio.append(done.episode.observations[shown, : spaces.observation.proprio_size])
            progress.append(done.progress[shown])
            classes.append(done.classes[shown, task.n_classes])
        self.jpegs, self.proprio = jpegs, np.concatenate(proprio)
        self.progress, self.classes = np.concatenate(progress), np.concatenate(classes)

    def __call__(self, model: Any) -> dict[str, float]:
        """The figures of a reward model; see ``figures``."""
        from erl_vlm_ros.data.views import decode_views

        images = decode_views(self.jpegs, model.image_size, tuple(getattr(model, "cameras", ())))
        rewards = model.predict(model.features(images), self.proprio).mean
        return figures(np.asarray(rewards, float), self.progress, self.classes)


def driven(arm: Any, task: Any, spaces: Any, explorer: Any, demo: Any, seed: int, index: int, evaluation: bool) -> Any:
    """The rollout of an episode that ``demo`` drives, or where that is None the explorer. ``evaluation``: as an episode
    of evaluation, in which no step counts as a person's."""
    from erl_vlm_ros.sim.rollout import roll_out

    def drive(observation: np.ndarray, jpeg: Any) -> np.ndarray:
        if demo is not None:
            return demo.act(arm.state(), spaces.action.size)
        return explorer.act(observation, None, jpeg)

    explorer.begin_episode(explore=True, evaluation=False)
    return roll_out(
        arm, spaces, task.episode_steps, task.control_hz, drive, seed=seed, evaluation=evaluation, index=index,
        actor_version=0, by_person=demo is not None and not evaluation,
    )  # fmt: skip


def figures(rewards: np.ndarray, progress: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Figures of rewards [N] against progress [N] in 0..1 and true classes [N]; NaN where the frames do not say.

    corr: Pearson's correlation with the progress. ordered: of two frames of different classes, the share where the
    better one has more reward, ties half, mean over pairs of classes: 0.5 is chance. classed: share of frames classed
    rightly where the rewards are cut at the true counts, as Eq. 1 cuts a batch, mean over classes. top_error: how far
    the rewards of the top class are from 1, mean; low_error: those of the lowest class from 0.
    """
    there = np.unique(classes)
    rank = np.argsort(np.argsort(rewards, kind="stable"), kind="stable")
    said = np.sort(classes)[rank]
    pairs = [_ordered(rewards[classes == a], rewards[classes == b]) for a in there for b in there if a < b]
    varied = rewards.std() > 0 and progress.std() > 0
    return {
        "corr": float(np.corrcoef(rewards, progress)[0, 1]) if varied else float("nan"),
        "ordered": float(np.mean(pairs)) if pairs else float("nan"),
        "classed": float(np.mean([(said[classes == c] == c).mean() for c in there])),
        "top_error": float(np.abs(1 - rewards[classes == there[-1]]).mean()),
        "low_error": float(np.abs(rewards[classes == there[0]]).mean()),
    }


def _ordered(lower: np.ndarray, higher: np.ndarray) -> float:
    """Share of pairs with more reward for the higher; ties count half."""
    ordered = np.sort(lower)
    left, right = np.searchsorted(ordered, higher, "left"), np.searchsorted(ordered, higher, "right")
    return float((left + right).mean() / (2 * len(lower)))
