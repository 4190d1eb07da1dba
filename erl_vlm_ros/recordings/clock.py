# SPDX-License-Identifier: Apache-2.0
"""One time for all topics of a recording: stamps where they are given, and pieces between which a clock jumps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.recordings.problems import Reason
from erl_vlm_ros.recordings.streams import CAMERA, JOINTS, POSE, Stream, Streams

BACK_NS = 100_000_000  # two publishers on one topic may be late by less
FORWARD_NS = 1_000_000_000  # beyond what passed at the recorder
APART_NS = 1_000_000_000  # between what two topics' stamps say of one moment
_ONE_JUMP_NS = 2_000_000_000  # topics notice the same jump with their next message
_COMPARED = 200  # messages


@dataclass(frozen=True)
class Timed:
    """A topic within a piece, sorted: times and received int64 [n] ns, values [n, k], and the message's number in the
    whole recording [n]."""

    topic: str
    times: np.ndarray
    received: np.ndarray
    values: np.ndarray
    number: np.ndarray
    joints: tuple[str, ...] = ()

    def nearest(self, times: np.ndarray) -> np.ndarray:
        """int64: for each time the message nearest to it."""
        right = np.clip(np.searchsorted(self.times, times), 1, max(len(self.times) - 1, 1))
        left = right - 1
        right = np.minimum(right, len(self.times) - 1)
        return np.where(times - self.times[left] <= self.times[right] - times, left, right)

    def before(self, times: np.ndarray) -> np.ndarray:
        """int64: for each time the last message at or before it; -1: none."""
        return np.searchsorted(self.times, times, "right") - 1


@dataclass(frozen=True)
class Piece:
    """A part of a recording without jumps. ``problem``: why nothing in it can be used, with the topic to blame."""

    streams: dict[str, Timed]
    problem: tuple[Reason, str, str] | None
    reference: tuple[np.ndarray, np.ndarray]  # received, time: of one topic that is stamped

    def time_at(self, received: int) -> int:
        """The time when something was received at the recorder, ns."""
        return int(_translate(np.array([received]), *self.reference)[0])

    def joints(self) -> list[Timed]:
        """Its joint states."""
        return [stream for name, stream in self.streams.items() if name.startswith(JOINTS)]


@dataclass(frozen=True)
class Jump:
    """``received``: of the first message after it, ns; ``by_s``: how far stamps jumped, less the time that passed."""

    received: int
    topic: str
    by_s: float


@dataclass(frozen=True)
class Timeline:
    """``behind_s``: topic -> how far its stamps lag behind the reference topic's, in the median."""

    pieces: list[Piece]
    jumps: list[Jump]
    behind_s: dict[str, float]

    def number_at(self, received: int) -> int:
        """The piece in which something was received."""
        return int(np.searchsorted([jump.received for jump in self.jumps], received, "right"))


def timeline(streams: Streams, use_received: bool) -> Timeline:
    """Cut a recording at jumps of its clocks, and give each message its time.

    Args:
        use_received: what counts is when the recorder received a message, whatever its stamp says.
    """
    stamped = {} if use_received else {n: s for n, s in streams.by_name.items() if len(s) and (s.stamps > 0).all()}
    jumps = _jumps(stamped)
    borders = np.array([jump.received for jump in jumps], np.int64)
    parts = {name: np.searchsorted(borders, s.received, "right") for name, s in streams.by_name.items()}
    reference = _reference(stamped)
    pieces, behind = [], {}
    for number in range(len(jumps) + 1):
        if reference is None:
            pair = (np.zeros(1, np.int64), np.zeros(1, np.int64))
        else:
            mine = parts[reference] == number
            pair = (stamped[reference].received[mine], stamped[reference].stamps[mine])
        problem = None
        timed = {}
        for name, stream in streams.by_name.items():
            mine = np.flatnonzero(parts[name] == number)
            received = stream.received[mine]
            times = stream.stamps[mine] if name in stamped else _translate(received, *pair)
            if name in stamped and len(mine) and len(pair[0]):
                late = _behind(received, times, *pair)
                behind[stream.topic] = max(behind.get(stream.topic, 0.0), late, key=abs)
                if abs(late) * 1e9 > APART_NS:
                    said = (
                        f"{stream.topic} is stamped {abs(late):.3f} s {'behind' if late > 0 else 'ahead of'} "
                        f"{stamped[reference].topic}: synchronise the machines' clocks, or take the recorder's time "
                        "(--clock received)"
                    )
                    problem = problem or (Reason.CLOCKS_APART, said, stream.topic)
            order = np.argsort(times, kind="stable")
            timed[name] = Timed(
                stream.topic, times[order], received[order], stream.values[mine][order], mine[order], stream.joints
            )
        pieces.append(Piece(timed, problem, pair))
    return Timeline(pieces, jumps, {topic: round(s, 4) for topic, s in behind.items()})


def _jumps(stamped: dict[str, Stream]) -> list[Jump]:
    found = []
    for stream in stamped.values():
        by = np.diff(stream.stamps) - np.where(np.diff(stream.stamps) < 0, 0, np.diff(stream.received))
        for i in np.flatnonzero((by < -BACK_NS) & (np.diff(stream.stamps) < -BACK_NS) | (by > FORWARD_NS)):
            found.append(Jump(int(stream.received[i + 1]), stream.topic, float(by[i]) / 1e9))
    out: list[Jump] = []
    for jump in sorted(found, key=lambda jump: jump.received):
        if not out or jump.received - out[-1].received > _ONE_JUMP_NS:
            out.append(jump)
    return out


def _reference(stamped: dict[str, Stream]) -> str | None:
    """Joint states come with the least delay, images with the most."""
    order = [name for name in stamped if name.startswith(JOINTS)]
    order += [name for name in (POSE, CAMERA) if name in stamped] + list(stamped)
    return order[0] if order else None


def _translate(received: np.ndarray, at: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Times of moments at the recorder by those of a reference topic; beyond its ends both clocks run alike."""
    if len(at) == 0 or len(at) == 1 and at[0] == 0:
        return received
    offset = np.interp(received, at, (times - at).astype(np.float64))  # small numbers: ns since 1970 are no float64
    return received + offset.round().astype(np.int64)


def _behind(received: np.ndarray, times: np.ndarray, at: np.ndarray, reference: np.ndarray) -> float:
    """Median s by which stamps lag behind the reference's at the moments when they were received."""
    some = np.unique(np.linspace(0, len(received) - 1, min(_COMPARED, len(received))).astype(int))
    some = some[(received[some] >= at[0]) & (received[some] <= at[-1])]
    if not len(some):
        return 0.0
    return float(np.median(_translate(received[some], at, reference) - times[some])) / 1e9
