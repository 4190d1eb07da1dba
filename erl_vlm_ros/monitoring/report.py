# SPDX-License-Identifier: Apache-2.0
"""What summary.json and progress.json hold, out of a run's record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erl_vlm_ros.monitoring.record import RunRecord


def summary(record: RunRecord, now: float) -> dict[str, Any]:
    """What summary.json holds."""
    last, wall = record.last_evaluation(), record.wall_s(now)
    return {
        "task": record.task,
        "seed": record.seed,
        "state": record.state,
        "env_steps": record.env_steps,
        "episodes": record.episodes,
        "ratings_requested": record.ratings_requested,
        "ratings_valid": record.ratings_valid,
        "rating_accuracy": _rounded(record.rating_accuracy),
        "rating_classes": record.class_names.get(record.n_classes, []),
        "teacher": record.teacher,
        "rating_mix": record.mix,
        "success_rate": None if last is None else last.success_rate,
        "eval_episodes": 0 if last is None else last.judged,
        "success_source": record.success_source,
        "training_success": _rounded(record.training_success),
        "wall_s": round(wall, 1),
        "steps_per_s": round(record.env_steps / max(wall, 1e-6), 2),
        "evaluations": [
            {
                "env_steps": e.env_steps,
                "wall_s": round(e.wall_s, 1),
                "episodes": e.episodes,
                "success_rate": e.success_rate,
                "mean_progress": _rounded(sum(e.progress) / len(e.progress)) if e.progress else None,
            }
            for e in record.evaluations
        ],
    }


def progress(record: RunRecord, now: float) -> dict[str, Any]:
    """What progress.json holds: the summary's figures and those of a live line."""
    last, speed = record.last_evaluation(), record.steps_per_s(now)
    left = (record.max_steps - record.env_steps) / speed if speed > 0 else None
    return {
        "state": record.state,
        "detail": record.detail,
        "env_steps": record.env_steps,
        "max_steps": record.max_steps,
        "episodes": record.episodes,
        "episode_return": record.returns[-1][1] if record.returns else None,
        "ratings_requested": record.ratings_requested,
        "ratings_valid": record.ratings_valid,
        "max_ratings": record.max_ratings,
        "teacher": record.teacher,
        "rating_mix": record.mix,
        "rating_accuracy": _rounded(record.rating_accuracy),
        "success_rate": None if last is None else last.success_rate,
        "success_at": None if last is None else last.env_steps,
        "training_success": _rounded(record.training_success),
        "steps_per_s": round(speed, 2),
        "left_s": None if left is None else round(max(left, 0.0), 1),
        "wall_s": round(record.wall_s(now), 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
