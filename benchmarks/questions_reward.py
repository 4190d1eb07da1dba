# SPDX-License-Identifier: Apache-2.0
"""The open questions at the level of the reward: ratings of a fixed set of frames, a reward model from them, and how
well that orders and tells apart the frames of other episodes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from questions_frames import Frames, frames_of, kept
from questions_policy import AUDITOR_ERRORS, TruthfulRater
from questions_tables import Rated

from erl_vlm_ros.common.tasks import Task, load_task
from erl_vlm_ros.data.query import Label, LabelBatch, QueryBatch
from erl_vlm_ros.data.segment import place_of
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.noise_model import NoiseModel, view_cluster
from erl_vlm_ros.feedback.teacher_configs import AuditConfig, ScriptedConfig
from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.reward.trainer import RewardTrainer
from erl_vlm_ros.sim.tasks import SimTask
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer
from erl_vlm_ros.training.configs import node_values, reward_config

CONTACT_N = 1.0  # N, of frames in contact


def reward_rows(
    rows: list[Rated], task_name: str, seed: int, folder: Path | None, quick: bool = False
) -> list[dict[str, Any]]:
    """The figures of each row with this seed, which draws which frames are rated, errors and weights."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = load_task(task_name)
    rated, held_out = frames_of(task_name, folder, quick)
    small = {"trunk.first_iterations": 5, "heads.iterations": 10} if quick else {}
    store, trunk = kept(folder, f"{task_name}-trunk{'-quick' * quick}", lambda: _trunk(task, rated, small))
    images = held_out.images(store.image_size)
    out = []
    for row in rows:
        small_erl = {"erl.passes": 2} if quick and row.reward else {}
        trainer = _trainer(row, task, rated, seed, small | row.reward | small_erl)
        if not row.reward.get("reward_model"):
            trainer.trainer.frames, trainer.trainer.trunk = store, trunk
        batches = _rounds(row, task, rated, seed)
        for batch in batches:
            trainer.add_labels(batch)
            model = trainer.train()
        labels = [label for batch in batches for label in batch.valid]
        figures = {"row": row.name, "seed": seed} | _ratings(row, rated, labels)
        out.append(
            figures | _judge(row, model, trainer, images, held_out) | _biases(row, model, images, held_out, seed)
        )
    return out


def _trunk(task: Task, frames: Frames, reward: dict[str, Any]) -> tuple[Any, Any]:
    """All frames, and the trunk that learned from them: one for all seeds."""
    learns = _trainer(Rated("", ""), task, frames, 0, reward).trainer
    for episode in frames.episodes:
        learns.add_episode(episode)
    learns.trunk.train(learns.frames.images, learns.frames.proprio)
    return learns.frames, learns.trunk


def _trainer(row: Rated, task: Task, frames: Frames, seed: int, reward: dict[str, Any]) -> RewardTrainer:
    values = node_values("reward_trainer", task, {"n_classes": row.n_classes} | reward)
    return RewardTrainer(reward_config(values, task, frames.spaces), seed)


# -- ratings


def _rounds(row: Rated, task: Task, frames: Frames, seed: int) -> list[LabelBatch]:
    """The ratings of a row, in the rounds in which its reward model gets them."""
    rng = np.random.default_rng([seed, 11])
    chosen = _chosen(row, frames.classes[:, row.n_classes], rng)
    batches = [
        QueryBatch.of(number, [frames.segment(i) for i in part])
        for number, part in enumerate(np.array_split(chosen, row.rounds))
    ]
    if row.blur or row.own_cuts:
        values = _perceived(row, frames, rng)
        rows = {frames.segment(i).id: i for i in chosen}
        return [
            LabelBatch(b.round, row.n_classes, len(b.queries), [Label(q, int(values[rows[q.id]])) for q in b.queries])
            for b in batches
        ]
    with _teacher(row, task, frames, seed) as teacher:
        return [teacher.label_batch(batch) for batch in batches]


def _chosen(row: Rated, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which frames are rated: drawn alike often, or as the row says of its classes; in random order."""
    order = rng.permutation(len(classes))
    if row.shares:
        wanted = np.round(np.array(row.shares) * row.ratings).astype(int)
        parts = [order[classes[order] == c][:count] for c, count in enumerate(wanted)]
        return rng.permutation(np.concatenate(parts))
    if row.top is not None:
        top = classes[order] == row.n_classes - 1
        return rng.permutation(np.concatenate([order[top][: row.top], order[~top][: row.ratings - row.top]]))
    return order[: row.ratings]


def _perceived(row: Rated, frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """Classes int [N] of a rater that perceives how far each frame is, blurred, and cuts that into classes."""
    fine = frames.level.astype(float)  # the rung, and within it the rank of the progress
    for level in np.unique(frames.level):
        own = np.flatnonzero(frames.level == level)
        fine[own[np.argsort(frames.progress[own], kind="stable")]] += (np.arange(len(own)) + 0.5) / len(own)
    merge = np.array(SimTask.merge[row.n_classes])
    cuts = 1.0 + np.flatnonzero(np.diff(merge))
    cuts = np.sort(np.clip(cuts + rng.normal(0.0, row.own_cuts, len(cuts)), 0.2, 4.8))
    seen = fine + rng.normal(0.0, row.blur, len(fine))
    return np.searchsorted(cuts, seen, side="right")


@contextlib.contextmanager
def _teacher(row: Rated, task: Task, frames: Frames, seed: int) -> Iterator[Any]:
    """Who rates: the truth with the row's errors, audited or not, or the stand-in over HTTP."""
    names = task.class_names(row.n_classes)
    if row.standin:
        answerer = Answerer(AnswererConfig(row.error_rate, seed=seed, errors=row.errors, blind=row.blind))
        config = {"n_classes": row.n_classes, "max_queries": 10**6, "modalities": row.senses or ("none",)}
        with tempfile.TemporaryDirectory() as folder, StandinServer(answerer) as server:
            ledger = Ledger(Path(folder) / "ledger.sqlite")
            rater = VlmRater(RaterConfig(base_url=server.base_url, **config), task, ledger)
            yield rater
            rater.close()
        return
    errors = ScriptedConfig(error_rate=row.error_rate, errors=row.errors, systematic_rate=row.systematic, seed=seed)
    teacher = TruthfulRater(frames.truth, ScriptedTeacher(errors, task.name, names))
    if row.audits:
        auditor = ScriptedTeacher(ScriptedConfig(error_rate=AUDITOR_ERRORS, seed=seed + 1), task.name, names)
        teacher = AuditedTeacher(teacher, TruthfulRater(frames.truth, auditor), AuditConfig(share=row.audits))
    yield teacher


def _ratings(row: Rated, frames: Frames, labels: list[Label]) -> dict[str, Any]:
    """How many ratings there are, of the top class too, and the share of right ones, of frames in contact as well."""
    rows = {place: i for i, place in enumerate(frames.places)}
    index = np.array([rows[place_of(label.segment.id)[:2]] for label in labels])
    given = np.array([label.value for label in labels])
    right = given == frames.classes[index, row.n_classes]
    contact = np.linalg.norm(frames.wrench[index, :3], axis=1) > CONTACT_N
    return {
        "ratings": len(given), "rated_top": int((given == row.n_classes - 1).sum()), "right": float(right.mean()),
        "contact": float(right[contact].mean()) if contact.any() else None, "in_contact": int(contact.sum()),
    }  # fmt: skip


# -- the reward


def _judge(row: Rated, model: Any, trainer: RewardTrainer, images: np.ndarray, frames: Frames) -> dict[str, Any]:
    """Of held-out frames: correlation with the progress; mean over the classes of the share that is told right; share
    of the frames of highest reward, as many as are done, that are done; and how far the mean reward of what is done
    lies above that of the rung below, in spans of the reward."""
    reward = _reward(model, images, frames.proprio)
    done, next_ = frames.level == 4, frames.level == 3
    highest = np.argsort(-reward, kind="stable")[: done.sum()]
    span = max(float(np.quantile(reward, 0.99) - np.quantile(reward, 0.01)), 1e-6)
    told, true = _told(model, trainer, images, frames, reward), frames.classes[:, row.n_classes]
    return {
        "corr": float(np.corrcoef(reward, frames.progress)[0, 1]) if reward.std() > 0 else 0.0,
        "classes": float(np.mean([(told[true == c] == c).mean() for c in np.unique(true)])),
        "top": float(done[highest].mean()) if len(highest) else None,
        "gap": float((reward[done].mean() - reward[next_].mean()) / span) if done.any() and next_.any() else None,
        "noise": model.health.get("assumed_noise"),
    }


def _reward(model: Any, images: np.ndarray, proprio: np.ndarray) -> np.ndarray:
    return model.predict(model.features(images), proprio).mean


def _told(model: Any, trainer: RewardTrainer, images: np.ndarray, frames: Frames, reward: np.ndarray) -> np.ndarray:
    """The class that a reward model takes each frame for: its heads', or the interval of its reward where the rated
    frames are cut as many as each class was given, as Eq. 1 cuts a batch."""
    if hasattr(model, "heads"):
        inputs = np.concatenate([model.features(images), frames.proprio], axis=1).astype(np.float32)
        return model.heads.probabilities(inputs).mean(0).argmax(1)
    ordered = np.sort(_reward(model, trainer.images[:, -1], trainer.proprio[:, -1]))
    below = np.cumsum(trainer.counts())[:-1]
    cuts = [ordered[b - 1] if b > 0 else -np.inf for b in below]
    return np.searchsorted(cuts, reward, side="left")


def _biases(row: Rated, model: Any, images: np.ndarray, frames: Frames, seed: int) -> dict[str, Any]:
    """Of a teacher with a fifth (or the row's share) of the clusters misjudged: correlation, over the clusters of
    held-out frames of one true level, of what it says too high with what the reward does; and its mean bias, in
    classes, over all frames and over the tenth of highest reward, which is where a policy is drawn to."""
    noise = NoiseModel.uniform(5, 0.0, row.systematic or 0.2)
    if row.n_classes != 5:
        return {}
    reward = _reward(model, images, frames.proprio)
    error = reward - frames.level / 4
    cells = np.array([view_cluster(p, int(c), cell_m=noise.cell_m) for p, c in zip(frames.position, frames.level)])
    bias = np.array([noise.judged(int(c), cell, seed) - int(c) for cell, c in zip(cells, frames.level)], float)
    # less the mean of their level: the lowest can only be overrated, and any reward says too much of it
    by_cell = [
        (frames.level[own][0], bias[own][0], error[own].mean()) for own in (cells == c for c in np.unique(cells))
    ]
    level, said, shown = np.array(by_cell).T
    for c in np.unique(level):
        said[level == c] -= said[level == c].mean()
        shown[level == c] -= shown[level == c].mean()
    highest = np.argsort(-reward, kind="stable")[: len(reward) // 10]
    return {
        "bias_corr": float(np.corrcoef(said, shown)[0, 1]) if said.std() > 0 and shown.std() > 0 else None,
        "bias_all": float(bias.mean()), "bias_top": float(bias[highest].mean()),
    }  # fmt: skip
