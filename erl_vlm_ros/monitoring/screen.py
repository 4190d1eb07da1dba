# SPDX-License-Identifier: Apache-2.0
"""What the dashboard shows, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.monitoring.health import STALE, Alarm, NodeHealth

GUARD = "safety_guard"


@dataclass(frozen=True)
class Guard:
    """What safety_guard says; ``armed`` and ``estop`` are None before it has said anything."""

    armed: bool | None = None
    estop: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class Screen:
    """One image of the dashboard.

    Attributes:
        progress: as in progress.json.
        phase: what is learned now, in words.
        awaits: who has to do something before the run goes on. driving: a person moves the arm.
        camera: uint8 RGB image of any size; ``camera_note``: of when it is.
        reward: learned reward 0..1 of that image; rewards: of each step of the episode; ``reward_note``: of which.
        evaluated, trained: (env_steps, success rate) of evaluations, and running of training episodes.
        spend: figures of vlm_rater; teacher: its values in words.
        reward_health: figures of learner and reward_trainer.
        clock: time of day: a screen that stands still can be distinguished from one that lives.
    """

    title: str
    subtitle: str
    progress: Mapping[str, Any]
    class_names: Sequence[str] = ()
    phase: str = ""
    awaits: Awaited = Awaited.NOBODY
    driving: bool = False
    camera: np.ndarray | None = None
    camera_note: str = ""
    reward: float | None = None
    rewards: np.ndarray | None = None
    reward_note: str = ""
    last_rating: str = ""
    evaluated: Sequence[tuple[int, float]] = ()
    trained: Sequence[tuple[int, float]] = ()
    success_source: str = ""
    returns: Sequence[tuple[int, float]] = ()
    mix_history: Sequence[tuple[int, Sequence[int]]] = ()
    health: Mapping[str, NodeHealth] = field(default_factory=dict)
    alarms: Sequence[Alarm] = ()
    guard: Guard = Guard()
    spend: Mapping[str, float] = field(default_factory=dict)
    teacher: Mapping[str, str] = field(default_factory=dict)
    reward_health: Mapping[str, float] = field(default_factory=dict)
    clock: str = ""

    @property
    def guard_lost(self) -> bool:
        """Whether nothing is known of the arm: the guard has fallen silent."""
        return GUARD in self.health and self.health[GUARD].level == STALE

    @property
    def lost(self) -> list[str]:
        """Nodes that have fallen silent."""
        return [node for node, health in self.health.items() if health.level == STALE]


#: how loud a line is
CALM, NOTE, LOUD = range(3)


def safety_words(screen: Screen) -> tuple[str, int]:
    """The arm's state in a word or two, and how loud to say it."""
    guard = screen.guard
    if screen.guard_lost:
        return "GUARD SILENT", LOUD
    if guard.estop:
        return "E-STOP", LOUD
    if guard.armed is None:
        return "NOT HEARD", NOTE
    return ("ARMED", CALM) if guard.armed else ("DISARMED", NOTE)


class Matter(Enum):
    """What the headline is about."""

    ESTOP = "the stop is latched"
    GUARD_LOST = "nothing is known of the arm"
    FAILED = "the run has failed"
    NODE_LOST = "a node has fallen silent"
    DRIVEN = "a person drives"
    PERSON = "a person is waited for"
    TO_BE_ARMED = "the guard is to be armed"
    PROGRESS = "all is well"


class Headline(NamedTuple):
    """What matters most now, in one line, and how loud to say it."""

    matter: Matter
    text: str
    loudness: int


def headline(screen: Screen) -> Headline:
    """What matters most now."""
    progress = screen.progress
    state, detail = progress["state"], str(progress.get("detail") or "")
    if screen.guard.estop and not screen.guard_lost:
        why = screen.guard.reason.removeprefix("e-stop: ") or "latched"
        text = f"E-STOP: {why}.  When it is safe: call safety_guard/clear_estop, then arm"
        return Headline(Matter.ESTOP, text, LOUD)
    if screen.guard_lost:
        text = f"{GUARD} {screen.health[GUARD].text}: the state of the arm is unknown"
        return Headline(Matter.GUARD_LOST, text, LOUD)
    if state == "failed":
        return Headline(Matter.FAILED, f"THE RUN FAILED: {detail or 'see the log of policy_controller'}", LOUD)
    if screen.lost:
        words = ", ".join(f"{node} {screen.health[node].text}" for node in screen.lost)
        return Headline(Matter.NODE_LOST, f"NODE LOST: {words}", LOUD)
    if screen.driving:
        return Headline(Matter.DRIVEN, "A PERSON DRIVES THE ARM; it is recorded as a demonstration", NOTE)
    if screen.awaits is Awaited.PERSON:
        text = "WAITING FOR A PERSON: " + re.sub(r"^a person(?: to |'s |\b)", "", detail)
        return Headline(Matter.PERSON, text, NOTE)
    if screen.guard.armed is False and screen.awaits is Awaited.GUARD:
        text = "WAITING TO BE ARMED: call safety_guard/arm, after the checklist of docs/real_arm.md"
        return Headline(Matter.TO_BE_ARMED, text, NOTE)
    what = {"running": "training", "evaluating": "evaluating the policy"}.get(state, state)
    episode = f"episode {progress['episodes'] + 1:,}" if state == "running" else ""
    waiting = f"waiting for {detail}" if detail and state in ("running", "evaluating") else detail
    text = "  ·  ".join(part for part in (what, episode, screen.phase, waiting) if part)
    return Headline(Matter.PROGRESS, text, CALM)
