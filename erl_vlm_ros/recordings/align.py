# SPDX-License-Identifier: Apache-2.0
"""Frames at the control rate, and the state and command that belong to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from erl_vlm_ros.recordings.clock import Piece, Timed
from erl_vlm_ros.recordings.options import COMMAND as BY_COMMAND
from erl_vlm_ros.recordings.options import BuildOptions
from erl_vlm_ros.recordings.problems import Reason
from erl_vlm_ros.recordings.streams import CAMERA, COMMAND, JOINTS, OBJECT, POSE

_PHASES = 8  # first images that are tried


class Unfit(Exception):  # noqa: N818 - becomes a Skipped, or a RecordingError
    """An episode cannot be used: why, in words, and the topic to blame."""

    def __init__(self, reason: Reason, text: str, topic: str = ""):
        super().__init__(text)
        self.reason, self.text, self.topic = reason, text, topic


@dataclass(frozen=True)
class Aligned:
    """T + 1 frames of an episode. times: int64 ns of the images; images: their numbers in the recording; at: stream ->
    row of the message nearest to each frame [T+1]; errors_s: topic -> distance of that, and ``step``: how far each
    control step is from the control period [T]; cut_s: what was cut off at both ends: a topic was not there."""

    times: np.ndarray
    images: np.ndarray
    at: dict[str, np.ndarray]
    errors_s: dict[str, np.ndarray]
    cut_s: tuple[float, float]


def align(piece: Piece, start: int, end: int, needed: list[str], options: BuildOptions) -> Aligned:
    """The frames of an episode between two times.

    Args:
        needed: streams that each frame needs a message of, the camera apart.

    Raises:
        Unfit: ``LATE``, ``EARLY``, ``GAP``, ``SLOW_CAMERA``, ``SHORT``.
    """
    if piece.problem is not None:
        raise Unfit(*piece.problem)
    if CAMERA not in piece.streams:
        raise Unfit(Reason.NO_TOPIC, "no image has come")
    first, last = _common(piece, start, end, [CAMERA, *needed], options)
    camera = piece.streams[CAMERA]
    chosen = _in_step(piece, _paced(camera, first, last, options), last, options)
    times = camera.times[chosen]
    if len(times) <= options.min_steps:
        text = f"{max(len(times) - 1, 0)} steps at {options.task.control_hz:g} Hz; --min-steps is {options.min_steps}"
        raise Unfit(Reason.SHORT, text)
    errors = {"step": np.abs(np.diff(times) / 1e9 - options.period_s)}
    at = {}
    for name in needed:
        stream = piece.streams[name]
        at[name] = stream.nearest(times)
        away = np.abs(stream.times[at[name]] - times) / 1e9
        errors[stream.topic] = np.maximum(errors.get(stream.topic, 0.0), away)
        worst = int(away.argmax())
        if away[worst] > options.tolerance:
            raise Unfit(Reason.GAP, _gap(stream, int(times[worst]), start), stream.topic)
    return Aligned(times, camera.number[chosen], at, errors, ((int(times[0]) - start) / 1e9, (end - last) / 1e9))


def needed_streams(piece: Piece, joints: Sequence[str]) -> list[str]:
    """What each frame needs a message of: state and the further cameras, not commands, which hold until the next one.
    Of several messages that
    tell a joint, those that come more often."""
    names = [name for name in piece.streams if name.startswith(JOINTS)]
    names.sort(key=lambda name: -len(piece.streams[name].times))
    needed = {next((n for n in names if joint in piece.streams[n].joints), "") for joint in joints}
    return [n for n in piece.streams if n in needed or n in (POSE, OBJECT) or n.startswith(f"{CAMERA}:")]


def _common(piece: Piece, start: int, end: int, names: list[str], options: BuildOptions) -> tuple[int, int]:
    """The time in which all topics are there. Unfit: one begins later, or ends earlier, than is to be cut off."""
    first, last, late = start, end, round(options.late_s * 1e9)
    for name in names:
        times, topic = piece.streams[name].times, piece.streams[name].topic
        if not len(times) or times[-1] < start or times[0] > end:
            raise Unfit(Reason.LATE, f"nothing on {topic} while it lasts", topic)
        # A message just before the episode is as good as one at its beginning.
        slack = 0 if name == CAMERA else round(options.tolerance * 1e9)
        begins, ends = int(times[0]) - slack, int(times[-1]) + slack
        if begins - start > late:
            text = f"{topic} begins {(begins - start) / 1e9:.2f} s after it; --late is {options.late_s:g} s"
            raise Unfit(Reason.LATE, text, topic)
        if end - ends > late:
            text = f"{topic} ends {(end - ends) / 1e9:.2f} s before it; --late is {options.late_s:g} s"
            raise Unfit(Reason.EARLY, text, topic)
        first, last = max(first, begins), min(last, ends)
    return first, last


def _paced(camera: Timed, first: int, last: int, options: BuildOptions) -> np.ndarray:
    """Images at the control rate: the nearest to each tick. The ticks follow the camera where its rate and theirs drift
    apart, so that none is taken twice."""
    times = camera.times
    low, high = np.searchsorted(times, first), np.searchsorted(times, last, "right")
    if high - low < 2:
        raise Unfit(Reason.SHORT, f"{high - low} images on {camera.topic} while it lasts")
    period = round(options.period_s * 1e9)
    tolerance = round(options.tolerance * 1e9)
    typical = float(np.median(np.diff(times[low:high])))
    if typical - period > tolerance:
        rates = f"{1e9 / typical:.2f} Hz, the control rate is {options.task.control_hz:g} Hz"
        raise Unfit(Reason.SLOW_CAMERA, f"{camera.topic} comes at {rates}", camera.topic)
    chosen, i, tick = [low], int(low), int(times[low])
    while True:
        tick += period
        j = int(np.searchsorted(times[i + 1 : high], tick)) + i + 1
        if j >= high and (i + 1 >= high or tick - times[high - 1] > min(tolerance, typical / 2)):
            break  # the last image belongs to an earlier tick
        j = min(j, high - 1)
        if j - 1 > i and tick - times[j - 1] <= times[j] - tick:
            j -= 1
        step = int(times[j] - times[i])
        # The clocks have drifted apart by half an image: go on from here.
        if abs(step - period) > tolerance and j - 1 > i and abs(int(times[j - 1] - times[i]) - period) <= tolerance:
            j -= 1
            tick = int(times[j])
        elif abs(int(times[j]) - tick) > period // 2:
            tick = int(times[j])
        step = int(times[j] - times[i])
        if step - period > tolerance:
            raise Unfit(Reason.GAP, _gap(camera, int(times[i]) + step // 2, first), camera.topic)
        if period - step > tolerance:  # two images close together: the next is nearer to a period
            if j + 1 >= high or int(times[j + 1] - times[i]) - period > tolerance:
                when = f"{(times[j] - first) / 1e9:.2f} s after its beginning"
                text = f"{camera.topic} comes irregularly: a step of {step / 1e6:.0f} ms, {when}"
                raise Unfit(Reason.GAP, text, camera.topic)
            j += 1
            tick = int(times[j])
        chosen.append(j)
        i = j
    return np.array(chosen, np.int64)


def _in_step(piece: Piece, chosen: np.ndarray, last: int, options: BuildOptions) -> np.ndarray:
    """``chosen``, or the images at the control rate from a little later on, where the steps then hold one command each
    rather than parts of two: commands may come at the control rate themselves."""
    commands = piece.streams.get(COMMAND)
    if options.action != BY_COMMAND or commands is None or len(commands.times) < 2:
        return chosen
    between = np.diff(np.unique(commands.times))  # one that is repeated under its stamp counts once
    if not len(between) or np.median(between) < 0.5e9 * options.period_s:
        return chosen
    camera, found = piece.streams[CAMERA], chosen
    least = 0.8 * _mixed(commands, camera.times[chosen], options.command_hold_s)
    for start in range(int(chosen[0]) + 1, min(int(chosen[1]), int(chosen[0]) + _PHASES)):
        try:
            later = _paced(camera, int(camera.times[start]), last, options)
        except Unfit:
            continue
        mixed = _mixed(commands, camera.times[later], options.command_hold_s)
        if mixed < least:
            least, found = mixed, later
    return found


def _mixed(commands: Timed, times: np.ndarray, hold_s: float) -> float:
    """How much a command varies within steps: mean variance."""
    squares = replace(commands, values=commands.values**2)
    return float(np.mean(held_mean(squares, times, hold_s) - held_mean(commands, times, hold_s) ** 2))


def _gap(stream: Timed, near: int, start: int) -> str:
    """In words: the gap about a time."""
    k = int(np.clip(np.searchsorted(stream.times, near), 1, max(len(stream.times) - 1, 1)))
    if len(stream.times) < 2:
        return f"{stream.topic} has one message only"
    gap = (stream.times[k] - stream.times[k - 1]) / 1e9
    return f"{stream.topic} is silent for {gap:.2f} s, {(stream.times[k - 1] - start) / 1e9:.2f} s after its beginning"


def held_mean(stream: Timed, times: np.ndarray, hold_s: float) -> np.ndarray:
    """Time-weighted mean of a command over each step [T, k]; each holds until the next, but no longer than ``hold_s``,
    after which there is none: zero. NaN stays."""
    hold = round(hold_s * 1e9)
    starts = stream.times
    ends = np.minimum(np.append(starts[1:], np.iinfo(np.int64).max), starts + hold)
    out = np.zeros((len(times) - 1, stream.values.shape[1]))
    first = np.searchsorted(ends, times[:-1], "right")
    behind = np.searchsorted(starts, times[1:], "left")
    for k, (a, b) in enumerate(zip(times, times[1:])):
        some = slice(first[k], behind[k])
        weights = np.minimum(ends[some], b) - np.maximum(starts[some], a)
        out[k] = weights @ stream.values[some] / (b - a) if len(weights) else 0.0
    return out


def any_within(stream: Timed, times: np.ndarray) -> bool:
    """Whether a message came within these frames."""
    return bool(np.searchsorted(stream.times, times[-1]) > np.searchsorted(stream.times, times[0]))
