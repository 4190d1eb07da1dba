# SPDX-License-Identifier: Apache-2.0
"""Which nodes live, which are in trouble, and which alarms hold, from the statuses on /diagnostics. No ROS."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from erl_vlm_ros.common.names import ALARM_PREFIX, HEARTBEAT_SUFFIX

OK, WARN, ERROR, STALE = range(4)  # as in diagnostic_msgs/DiagnosticStatus
LEVEL_NAMES = ("OK", "WARN", "ERROR", "STALE")
OWN_PREFIX = "erl_vlm_ros: "  # of the statuses that the monitor itself publishes
ALARM_KEPT_S = 90.0  # an alarm that is not repeated for so long is over
FRESH_S = 10.0  # a status that is older says nothing any more
# A callback that takes longer is worth a warning: at once next to the robot, after a while where networks train.
BUSY_S = {"safety_guard": 1.5, "policy_controller": 2.0, "camera": 2.0, "sim_bridge": 5.0}
BUSY_ELSEWHERE_S = 60.0
_UNTRACKED = ("monitor", "viewer")  # the screen itself shows it


@dataclass(frozen=True)
class NodeHealth:
    """``level`` as in DiagnosticStatus; ages in s, None when there is nothing to be old."""

    level: int
    text: str
    age_s: float | None = None  # since the last sign of life
    figures_age_s: float | None = None  # since the last figures on learning/metrics


@dataclass
class Alarm:
    """A training alarm: what is wrong, how bad, since and until when it was heard (s)."""

    name: str
    level: int
    text: str
    since: float
    heard: float


class Health:
    """Tells the state of each node of ``nodes``, and of any other that sends a heartbeat. Times: monotonic s.

    Args:
        stale_s: silence after which a node counts as dead; start_s: the time that it may take to start.
    """

    def __init__(self, nodes: Iterable[str], now: float, stale_s: float, start_s: float):
        self.nodes = list(dict.fromkeys(nodes))
        self._began, self._stale_s, self._start_s = now, stale_s, start_s
        self._beats: dict[str, tuple[float, float]] = {}  # node -> (when, busy_s)
        self._seen: dict[str, float] = {}  # node -> when anything else was heard of it
        self._figures: dict[str, float] = {}
        self._statuses: dict[str, dict[str, tuple[int, str, float]]] = {}
        self._alarms: dict[str, Alarm] = {}

    def hear(self, name: str, level: int, text: str, now: float, busy_s: float = 0.0) -> None:
        """One status from /diagnostics; ``busy_s`` from a heartbeat."""
        if name.startswith(OWN_PREFIX):
            return
        if name.startswith(ALARM_PREFIX):
            self._alarm(name[len(ALARM_PREFIX) :], level, text, now)
            return
        node = re.split(r"[:/ ]", name.lstrip("/"), maxsplit=1)[0]
        if name.endswith(HEARTBEAT_SUFFIX):
            if node not in self.nodes and not node.startswith(_UNTRACKED):
                self.nodes.append(node)
            self._beats[node] = (now, busy_s)
        elif node in self.nodes:
            self._seen[node] = now
            self._statuses.setdefault(node, {})[name] = (level, text, now)

    def figures(self, node: str, now: float) -> None:
        """The node published figures."""
        self._figures[node] = now

    def _alarm(self, name: str, level: int, text: str, now: float) -> None:
        if level == OK:
            self._alarms.pop(name, None)
            return
        known = self._alarms.get(name)
        self._alarms[name] = Alarm(name, level, text, now if known is None else known.since, now)

    def alarms(self, now: float) -> list[Alarm]:
        """Alarms that hold, the worst and then the newest first."""
        self._alarms = {n: a for n, a in self._alarms.items() if now - a.heard <= ALARM_KEPT_S}
        return sorted(self._alarms.values(), key=lambda alarm: (-alarm.level, -alarm.since))

    def report(self, now: float) -> dict[str, NodeHealth]:
        """Node -> its health now."""
        return {node: self._one(node, now) for node in self.nodes}

    def _one(self, node: str, now: float) -> NodeHealth:
        figures = self._figures.get(node)
        figures_age = None if figures is None else now - figures
        beat, busy = self._beats.get(node, (None, 0.0))
        heard = self._seen.get(node) if beat is None else beat
        if heard is None:
            if now - self._began < self._start_s:
                return NodeHealth(WARN, "starting", None, figures_age)
            return NodeHealth(STALE, "never heard", None, figures_age)
        age = now - heard
        if age > self._stale_s:
            return NodeHealth(STALE, f"silent for {age:.0f} s", age, figures_age)
        level, text = OK, "running"
        if busy > 1.0:
            text = f"busy for {busy:.0f} s"
            level = WARN if busy > BUSY_S.get(node, BUSY_ELSEWHERE_S) else OK
        for said, words, at in self._statuses.get(node, {}).values():
            if said > level and now - at <= FRESH_S:
                level, text = said, words
        return NodeHealth(level, text, age, figures_age)
