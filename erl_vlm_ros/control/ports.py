# SPDX-License-Identifier: Apache-2.0
"""What the controller core asks of the world: clocks, log, publishers, observations, resets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from erl_vlm_ros.control.episode_machine import Awaited, EpisodeMachine
from erl_vlm_ros.data.episode import Episode

Command = tuple[Any, ...]  # the messages of one command; the core hands them on


@dataclass(frozen=True)
class Observed:
    """One observation: policy vector [O], image [h, w, 3], what was measured beside them [K]; ``views``: the images of
    named cameras, that of the first included."""

    observation: np.ndarray
    rgb: np.ndarray
    extras: np.ndarray
    views: Mapping[str, np.ndarray] = field(default_factory=dict)


class Clock(Protocol):
    """Two clocks: ``now`` for durations, monotonic s; ``stamp`` for messages, ns (simulated time in lock-step)."""

    def now(self) -> float: ...
    def stamp(self) -> int: ...


class Log(Protocol):
    """rclpy's logger; ``throttle_duration_sec`` (s) keeps a repeated line rare."""

    def info(self, text: str, **options: Any) -> Any: ...
    def warning(self, text: str, **options: Any) -> Any: ...
    def error(self, text: str, **options: Any) -> Any: ...


class Outputs(Protocol):
    """Publishers of commands, episodes and run/state."""

    def command(self, action: np.ndarray, stamp_ns: int) -> tuple[Command, Sequence[float]]:
        """The messages of an action in [-1, 1]^A, and its velocity [6] in m/s and rad/s."""

    def send(self, command: Command) -> None:
        """Publish a command's messages."""

    def stand_still(self) -> None:
        """Command zero velocity."""

    def episode(self, episode: Episode, machine: EpisodeMachine, wall_s: float) -> None:
        """Publish an episode and the figures about it."""

    def state(self, summary: dict[str, Any]) -> None:
        """Publish run/state when it has changed."""


class Observations(Protocol):
    """Where observations come from."""

    def problem(self, not_before: int) -> str:
        """Real time: why there is nothing to act on, or an empty text. ``not_before``: least stamp, ns."""

    def take(self) -> tuple[int, dict[str, Any]]:
        """Real time: stamp of the image, ns, and the newest of each part."""

    def unpack(self, found: dict[str, Any]) -> Observed:
        """Numbers and image of one set. Raises ValueError when a part cannot be used."""


class Resets(Protocol):
    """How an episode begins."""

    waiting: str  # what is waited for, in words; empty between resets
    awaits: Awaited  # the same by its kind

    def ready(self) -> bool: ...
    def start(self, seed: int, index: int, answer: Callable[[bool, str, int], None]) -> None: ...
    def go_on(self) -> bool: ...
    def tick(self) -> bool: ...
    def cancel(self) -> None: ...
