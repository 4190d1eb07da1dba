# SPDX-License-Identifier: Apache-2.0
"""How one side of a run meets the other: what it says of itself, what it makes of what it hears. No ROS."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.facts import compare, gives_way
from erl_vlm_ros.graphs.sides import OTHER, ROBOT

RUNNING, LEAVING = "running", "leaving"


@dataclass
class Peer:
    """A process that speaks for a side. ``heard_at``: monotonic s; ``age_s``: since it began, as it said then."""

    side: str
    heard_at: float
    age_s: float
    state: str
    begun: str
    paired: str
    facts: Mapping[str, Any] | None = None


@dataclass
class Meeting:
    """One side's view. Feed it what is heard; ``problem`` is what this side has to end with.

    Args:
        side: robot or workstation.
        facts: of ``graphs.facts``.
        begun: names this run directory, whose loss would be that of the run.
        paired: ``begun`` of the workstation that this robot side has worked with; empty: none yet.
        began: monotonic s.
    """

    side: str
    facts: Mapping[str, Any]
    begun: str
    paired: str
    began: float
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    peers: dict[str, Peer] = field(default_factory=dict)
    _facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # token -> facts, also those that came first

    def alive(self, now: float, state: str = RUNNING) -> dict[str, Any]:
        """What is said once a second."""
        return {
            "token": self.token, "side": self.side, "age_s": round(now - self.began, 3), "state": state,
            "begun": self.begun, "paired": self.paired,
        }  # fmt: skip

    def introduction(self) -> dict[str, Any]:
        """What is said once and kept for who comes later."""
        return {"token": self.token, "side": self.side, "facts": self.facts}

    def hear(self, said: Mapping[str, Any], now: float) -> None:
        """A sign of life. KeyError, TypeError or ValueError: it is none."""
        token, side = str(said["token"]), str(said["side"])
        if token == self.token or side not in OTHER:
            return
        self.peers[token] = Peer(
            side, now, float(said["age_s"]), str(said["state"]), str(said["begun"]), str(said["paired"]),
            self._facts.get(token),
        )  # fmt: skip

    def hear_facts(self, said: Mapping[str, Any]) -> None:
        """An introduction. KeyError, TypeError or ValueError: it is none."""
        token, facts = str(said["token"]), dict(said["facts"])
        if not isinstance(facts.get("values"), Mapping):
            raise ValueError("facts without values")
        self._facts[token] = facts
        if token in self.peers:
            self.peers[token].facts = facts

    def problem(self, now: float, steps: int) -> ConfigError | None:
        """What this side has to end with; None: nothing, or it is the other one that has to.

        Args:
            steps: environment steps that the run has made; 0: nothing would be lost.
        """
        for peer in self.peers.values():
            error = None if peer.state == LEAVING else self._differs(peer, steps)
            if error is not None and gives_way(self.side, now - self.began, peer.age_s + now - peer.heard_at):
                return error
        return None

    def _differs(self, peer: Peer, steps: int) -> ConfigError | None:
        if peer.side == self.side:
            text = f"side is {self.side} here, and another process of this domain is the {self.side} side already: "
            return ConfigError(text + "end it, or give another --domain", code=Code.IN_USE, parameter="side")
        if peer.facts is not None:
            error = compare(self.facts, peer.facts, self.side)
            if error is not None:
                return error
        robot, workstation = (self, peer) if self.side == ROBOT else (peer, self)
        if robot.paired and steps and robot.paired != workstation.begun:
            text = (
                f"run_id: the robot side has made {steps:,} steps with the workstation's run {robot.paired}, and this "
                f"one is {workstation.begun}: continue that run with --resume, or begin both sides anew"
            )
            return ConfigError(text, code=Code.DOES_NOT_FIT, parameter="run_id")
        return None

    def other(self, now: float, silent_s: float) -> Peer | None:
        """The other side, if it was heard within ``silent_s``."""
        found = [p for p in self.peers.values() if p.side == OTHER[self.side] and now - p.heard_at <= silent_s]
        return max(found, key=lambda peer: peer.heard_at, default=None)

    def met(self, now: float, silent_s: float) -> bool:
        """Whether the other side was compared and is there."""
        peer = self.other(now, silent_s)
        return peer is not None and peer.facts is not None

    def forget(self, now: float, after_s: float) -> None:
        """Leave out who has been silent for so long."""
        self.peers = {token: peer for token, peer in self.peers.items() if now - peer.heard_at <= after_s}
        if len(self._facts) > 16:
            self._facts = {token: facts for token, facts in self._facts.items() if token in self.peers}

    def pair(self, now: float, silent_s: float, steps: int) -> bool:
        """Robot side: remember whom it works with, once there are steps. True: that is news."""
        peer = self.other(now, silent_s)
        if self.side != ROBOT or peer is None or peer.facts is None or not steps or self.paired == peer.begun:
            return False
        if self._differs(peer, steps) is not None:
            return False
        self.paired = peer.begun
        return True
