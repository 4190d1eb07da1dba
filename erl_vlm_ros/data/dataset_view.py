# SPDX-License-Identifier: Apache-2.0
"""What a dataset holds, in figures and in one picture; an episode in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.data.dataset import DatasetSource, read_info
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.data.notes import UNRATED, Notes
from erl_vlm_ros.data.views import cameras_of

_GREEN, _RED, _GREY = (60, 160, 60), (60, 60, 200), (120, 120, 120)  # BGR: succeeded, failed, not judged
_LINE = 16  # px of text above each row


def figures(episodes: Iterable[tuple[Episode, Notes | None]]) -> dict[str, Any]:
    """Counts and rates: episodes, steps, lengths, steps driven by a person, verdicts, ratings, control rate (Hz)."""
    steps, verdicts, periods, driven, with_person = [], [], [], 0, 0
    rewarded, ratings, largest, spaces = 0, np.zeros(0, np.int64), 0.0, ""
    sizes, cameras = (0, 0), ()
    for episode, notes in episodes:
        steps.append(episode.steps)
        periods.append(np.diff(episode.stamps) / 1e9)
        verdicts += [] if episode.success is None else [episode.success]
        driven += int(episode.intervention.sum())
        with_person += int(episode.intervention.any())
        largest = max(largest, float(np.abs(episode.actions).max()))
        cameras = cameras_of(episode.jpegs)
        sizes = episode.observations.shape[1], episode.actions.shape[1]
        spaces = "" if episode.spaces is None else f"{episode.spaces.observation}; {episode.spaces.action}"
        if notes is not None:
            rewarded += notes.rewards is not None
            if notes.ratings is not None:
                found = np.bincount(notes.ratings[notes.ratings != UNRATED], minlength=notes.n_classes)
                more = np.zeros(max(len(found), len(ratings)), np.int64)
                more[: len(ratings)] += ratings
                more[: len(found)] += found
                ratings = more
    gaps = np.concatenate(periods)
    period = float(np.median(gaps))
    return {
        "episodes": len(steps), "steps": sum(steps), "shortest": min(steps), "longest": max(steps),
        "median_steps": float(np.median(steps)), "seconds": round(float(gaps.sum()), 3),
        "driven_by_a_person": driven, "episodes_with_a_person": with_person, "judged": len(verdicts),
        "succeeded": int(sum(verdicts)), "rated_frames": int(ratings.sum()), "rating_mix": ratings.tolist(),
        "episodes_with_rewards": rewarded, "control_hz": round(1 / period, 3) if period > 0 else None,
        "longest_step_s": round(float(gaps.max()), 4), "largest_action": round(largest, 4),
        "observation_size": sizes[0], "action_size": sizes[1], "cameras": list(cameras),
        "spaces": spaces,
    }  # fmt: skip


def show(path: str | Path) -> dict[str, Any]:
    """``figures`` of a dataset with its task and who made it. ConfigError: it is none, or damaged."""
    info, source = read_info(path), DatasetSource(str(path), False)
    about = {"task": info["task"], "made_by": str(info.get("made_by", ""))}
    return about | figures(source.annotated())


def contact_sheet(path: str | Path, columns: int = 8, rows: int = 12, side: int = 112) -> np.ndarray:
    """uint8 [h, w, 3], BGR: a row of evenly spread frames for each of some evenly spread episodes; above it the
    episode's number, its steps and how it went. ConfigError as of ``show``."""
    count = read_info(path)["episodes"]
    chosen = set(np.unique(np.linspace(0, count - 1, min(rows, count)).round().astype(int)).tolist())
    return np.concatenate([
        _row(episode, columns, side)
        for number, (episode, _) in enumerate(DatasetSource(str(path), False).annotated())
        if number in chosen
    ])  # fmt: skip


def _row(episode: Episode, columns: int, side: int) -> np.ndarray:
    at = np.linspace(0, len(episode.jpegs) - 1, columns).round().astype(int)
    images = [cv2.resize(decode_image(episode.jpegs[k]), (side, side), interpolation=cv2.INTER_AREA) for k in at]
    went = {True: "succeeded", False: "failed", None: "not judged"}[episode.success]
    colour = {True: _GREEN, False: _RED, None: _GREY}[episode.success]
    line = np.full((_LINE, columns * side, 3), colour, np.uint8)
    driven = int(episode.intervention.sum())
    text = f"episode {episode.index}: {episode.steps} steps, {went}" + (f", {driven} by a person" if driven else "")
    cv2.putText(line, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([line, np.concatenate(images, axis=1)])
