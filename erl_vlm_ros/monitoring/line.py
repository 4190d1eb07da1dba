# SPDX-License-Identifier: Apache-2.0
"""The live line of a run, from progress.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_line(progress: Mapping[str, Any], class_names: Sequence[str] = ()) -> str:
    """One line: state, steps, return, ratings and their mix, success, speed, time left."""
    if progress.get("max_episodes") is not None:
        return _gathering(progress)
    unit = "steps" if progress.get("max_updates") is None else "updates"  # of a run on recordings
    done, most = (progress["env_steps"], progress["max_steps"]) if unit == "steps" else _updates(progress)
    parts = [f"{done:,}/{most:,} {unit}"]
    earned = progress.get("episode_return")
    if unit == "steps":
        parts.append("return -" if earned is None else f"return {earned:.1f}")
    kind = "scripted ratings" if "scripted" in (progress.get("teacher") or "") else "ratings"
    ratings = f"{kind} {progress['ratings_valid']:,}/{progress['max_ratings']:,}"
    mix = format_mix(progress.get("rating_mix") or [], class_names)
    if progress["max_ratings"]:
        parts.append(f"{ratings} ({mix})" if mix else ratings)
    rate, training = progress.get("success_rate"), progress.get("training_success")
    if rate is not None:
        parts.append(f"success {rate:.0%} at {progress['success_at']:,}")
    else:
        parts.append("success -" if training is None else f"success {training:.0%} in training")
    speed = progress["steps_per_s"]
    parts.append(f"{speed:.0f} {unit}/s" if speed >= 20 else f"{speed:.1f} {unit}/s")
    return _joined(progress, parts)


def _joined(progress: Mapping[str, Any], parts: list[str]) -> str:
    """The line: time and state before the parts, time left behind them."""
    left = progress.get("left_s")
    if left is not None and progress["state"] == "running":
        parts = [*parts, f"{duration(left)} left"]
    state = progress["state"] + (f" {progress['detail']}" if progress.get("detail") else "")
    return f"[{duration(progress['wall_s'])} {state}] " + " | ".join(parts)


def _gathering(progress: Mapping[str, Any]) -> str:
    """Of a run that gathers demonstrations."""
    kept, good = progress["kept_episodes"], progress["kept_successes"]
    parts = [f"{kept:,}/{progress['max_episodes']:,} episodes", f"{good:,} successful"]
    return _joined(progress, [*parts, f"{progress['env_steps']:,} steps"])


def _updates(progress: Mapping[str, Any]) -> tuple[int, int]:
    return progress["updates"], progress["max_updates"]


def format_mix(mix: Sequence[int], class_names: Sequence[str] = ()) -> str:
    """Shares of the rating classes, worst first: ``Bad 80% Good 20%``; bare shares without names."""
    total = sum(mix)
    if not total:
        return ""
    shares = [f"{100 * count / total:.0f}%" for count in mix]
    if len(class_names) != len(mix):
        return " ".join(shares)
    return " ".join(f"{_short(name)} {share}" for name, share in zip(class_names, shares))


def _short(name: str) -> str:
    """Very Bad -> VBad: the line has to fit."""
    words = name.split()
    return "".join(word[0] for word in words[:-1]) + words[-1]


def duration(seconds: float) -> str:
    """m:ss or h:mm:ss."""
    whole = int(round(max(seconds, 0.0)))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
