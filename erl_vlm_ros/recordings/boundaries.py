# SPDX-License-Identifier: Apache-2.0
"""Where episodes begin and end in a recording, and how they went. Times: ns at which the recorder received."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from erl_vlm_ros.recordings.options import IDLE, STATE, TOPIC
from erl_vlm_ros.recordings.streams import (
    COMMAND,
    EVALUATION,
    JOINT_COMMAND,
    MARKS,
    NO_EPISODE,
    POSE,
    SUCCESS,
    WIDTH,
    Stream,
    Streams,
)
from erl_vlm_ros.recordings.streams import STATE as STATES
from erl_vlm_ros.recordings.topics import BOOL, EMPTY

_LINEAR, _ANGULAR, _WIDTH = 1e-3, 1e-2, 1e-3  # m/s, rad/s, m: less is no movement
_SMOOTH_NS = 200_000_000  # over which a pose's speed is taken
_MARGIN_NS = 200_000_000  # before and after a movement


@dataclass(frozen=True)
class Interval:
    """An episode; ``success`` None: nobody said."""

    start: int
    end: int
    evaluation: bool = False
    success: bool | None = None


def intervals(mode: str, streams: Streams, idle_s: float, mark_kind: str) -> list[Interval]:
    """Episodes in order, judged by the success topic where there is one.

    Args:
        mode: STATE, TOPIC, IDLE or BAG.
        mark_kind: type of the topic's messages: of a Bool, true is within an episode; each other number of an Int is an
            episode, below 0 none; an Empty ends one and begins the next.
    """
    found = [s for s in streams.by_name.values() if len(s)]
    if not found:
        return []
    first, last = min(int(s.received[0]) for s in found), max(int(s.received[-1]) for s in found)
    if mode == STATE:
        out = _by_level(streams[STATES], streams[STATES].values[:, 0], last) if STATES in streams else []
    elif mode == TOPIC:
        out = _by_marks(streams[MARKS], mark_kind, first, last) if MARKS in streams else []
    elif mode == IDLE:
        out = _by_movement(streams, round(idle_s * 1e9), first, last)
    else:
        out = [Interval(first, last)]
    return _judged(out, streams[SUCCESS], last) if SUCCESS in streams else out


def _by_level(stream: Stream, level: np.ndarray, last: int) -> list[Interval]:
    """Stretches of one level above NO_EPISODE."""
    out: list[Interval] = []
    changes = np.flatnonzero(np.diff(level, prepend=NO_EPISODE))
    for k, i in enumerate(changes):
        if level[i] > NO_EPISODE:
            end = int(stream.received[changes[k + 1]]) if k + 1 < len(changes) else last
            out.append(Interval(int(stream.received[i]), end, bool(level[i] == EVALUATION)))
    return out


def _by_marks(stream: Stream, kind: str, first: int, last: int) -> list[Interval]:
    values = stream.values[:, 0]
    if kind == BOOL:
        return [replace(i, evaluation=False) for i in _by_level(stream, values, last)]
    if kind == EMPTY:
        edges = [first, *stream.received.tolist(), last]
        return [Interval(a, b) for a, b in zip(edges, edges[1:]) if b > a]
    changes = [0, *(np.flatnonzero(np.diff(values)) + 1)]
    ends = [*(int(stream.received[i]) for i in changes[1:]), last]
    return [Interval(int(stream.received[i]), end) for i, end in zip(changes, ends) if values[i] >= 0]


def _by_movement(streams: Streams, idle_ns: int, first: int, last: int) -> list[Interval]:
    """Stretches in which something is commanded (or, without commands, the tool moves), with shorter pauses in them."""
    moments = []
    if COMMAND in streams:
        at, values = streams[COMMAND].received, streams[COMMAND].values
        moments.append(at[(np.abs(values[:, :3]).max(1) > _LINEAR) | (np.abs(values[:, 3:]).max(1) > _ANGULAR)])
    elif JOINT_COMMAND in streams:
        at, values = streams[JOINT_COMMAND].received, streams[JOINT_COMMAND].values
        moments.append(at[np.abs(values).max(1) > _ANGULAR])
    elif POSE in streams:
        at, position = streams[POSE].received, streams[POSE].values[:, :3]
        before = np.maximum(np.searchsorted(at, at - _SMOOTH_NS), 0)
        passed = np.maximum(at - at[before], 1) / 1e9
        moments.append(at[np.linalg.norm(position - position[before], axis=1) / passed > 5 * _LINEAR])
    if WIDTH in streams:
        at, width = streams[WIDTH].received, streams[WIDTH].values[:, 0]
        moments.append(at[1:][np.abs(np.diff(width)) > _WIDTH])
    moving = np.unique(np.concatenate(moments)) if moments else np.zeros(0, np.int64)
    if not len(moving):
        return []
    breaks = np.flatnonzero(np.diff(moving) > idle_ns)
    starts, ends = moving[[0, *(breaks + 1)]], moving[[*breaks, len(moving) - 1]]
    return [Interval(max(int(a) - _MARGIN_NS, first), min(int(b) + _MARGIN_NS, last)) for a, b in zip(starts, ends)]


def _judged(found: list[Interval], said: Stream, last: int) -> list[Interval]:
    """The topic's last word within an episode counts; where there is none, its first before the next one begins."""
    out = []
    for k, interval in enumerate(found):
        after = found[k + 1].start if k + 1 < len(found) else last + 1
        within = np.flatnonzero((said.received >= interval.start) & (said.received <= interval.end))
        later = np.flatnonzero((said.received > interval.end) & (said.received < after))
        word = within[-1] if len(within) else later[0] if len(later) else None
        out.append(interval if word is None else replace(interval, success=bool(said.values[word, 0])))
    return out
