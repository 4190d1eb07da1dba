# SPDX-License-Identifier: Apache-2.0
"""What the monitor knows of this moment, beside the run's record, and the screen made of both. No ROS."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import EE_POSITION
from erl_vlm_ros.monitoring.health import Health
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.screen import Guard, Screen
from erl_vlm_ros.monitoring.side_by_side import shown
from erl_vlm_ros.monitoring.trace import Trace

CAMERA_OLD_S = 1.0  # a live image that is older is called old


class View:
    """Collects; ``screen`` gives the newest image of it. Times: monotonic s.

    Args:
        live: images and positions come as they happen; False: with each finished episode.
    """

    def __init__(self, title: str, subtitle: str, live: bool):
        self.title, self.subtitle, self.live = title, subtitle, live
        self.guard = Guard()
        self.trace = Trace()
        self.reward: float | None = None
        self.in_episode = False
        self._awaits, self._driving = Awaited.NOBODY, False
        self._camera: np.ndarray | bytes | None = None
        self._camera_at: float | None = None
        self._shown = ""  # of which episode the rewards are
        self._finished: tuple[int, Episode] | None = None
        self._early: tuple[int, np.ndarray] | None = None  # rewards that overtook their episode
        self._figures: dict[str, dict[str, float]] = {}
        self._texts: dict[str, dict[str, str]] = {}

    # -- what is heard

    def figures(self, node: str, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """What a node says on learning/metrics."""
        self._figures.setdefault(node, {}).update(values)
        self._texts.setdefault(node, {}).update(texts)

    def state(self, said: Mapping[str, Any]) -> None:
        """run/state: an episode begins or ends; a person is waited for, or drives."""
        self._awaits = Awaited(said.get("awaits"))
        self._driving = bool(said.get("intervention", False))
        before, self.in_episode = self.in_episode, said.get("detail") in ("running", "evaluating")
        if self.live and self.in_episode and not before:
            self.trace.clear()
            evaluating = said.get("detail") == "evaluating"
            self._shown = "evaluation episode" if evaluating else f"episode {int(said.get('episodes', 0)) + 1:,}"

    def image(self, rgb: np.ndarray, now: float, reward: float | None) -> None:
        """A live image, uint8 RGB of any size, and its learned reward where it is known."""
        self._camera, self._camera_at, self.reward = rgb, now, reward
        if reward is not None and self.in_episode:
            self.trace.reward(now, reward)

    def position(self, where: tuple[float, float, float], now: float) -> None:
        """Where the tool is, m in the base frame."""
        if self.in_episode:
            self.trace.position(now, where)

    def episode(self, episode: Episode) -> None:
        """A finished episode: its last image, and the tool's way, where they are not shown live."""
        if self.live:
            return
        self._camera = episode.jpegs[-1]  # decoded when the screen is drawn
        kind = "evaluation episode" if episode.evaluation else "episode"
        self._shown = f"{kind} {episode.index + 1:,}"
        way = episode.part(EE_POSITION)
        if way is not None:
            self.trace.whole(way, None)
        self.reward, self._finished = None, None
        if not episode.evaluation:
            self._finished = (episode.index, episode)
            early, self._early = self._early, None
            if early is not None and early[0] == episode.index:
                self.rewards(early[1], episode.index)

    def rewards(self, rewards: np.ndarray, index: int) -> None:
        """The learned reward [T] of each step of training episode ``index``."""
        if self.live:
            return
        if self._finished is None or self._finished[0] != index:
            self._early = (index, rewards)
            return
        self.trace.rate(rewards)
        self.reward = float(rewards[-1]) if len(rewards) else None

    # -- what is shown

    def screen(self, record: RunRecord, health: Health, now: float) -> Screen:
        """Everything for the dashboard."""
        learner, rater = self._figures.get("learner", {}), self._figures.get("vlm_rater", {})
        phase = {0.0: "exploring", 1.0: "learning"}.get(learner.get("learning", -1.0), "")
        return Screen(
            title=self.title,
            subtitle=self.subtitle,
            progress=record.progress(now),
            class_names=record.class_names.get(record.n_classes, []),
            phase=phase,
            awaits=self._awaits,
            driving=self._driving,
            camera=shown(self._camera) if isinstance(self._camera, bytes) else self._camera,
            camera_note=self._camera_note(now),
            reward=self.reward,
            rewards=self.trace.rewards,
            reward_note=self._shown,
            last_rating=record.last_rating,
            evaluated=record.evaluated(),
            trained=record.training_rates if record.success_source != "ground truth" else (),
            success_source=record.success_source,
            returns=record.returns,
            mix_history=record.mix_history,
            health=health.report(now),
            alarms=health.alarms(now),
            guard=self.guard,
            spend=rater,
            teacher=self._texts.get("vlm_rater", {}),
            reward_health=learner | self._figures.get("reward_trainer", {}),
            clock=time.strftime("%H:%M:%S"),
        )

    def _camera_note(self, now: float) -> str:
        if self._camera is None:
            return ""
        spread = self._figures.get("policy_controller", {}).get("camera_spread_max_s")
        apart = "" if not spread else f", views up to {1000 * spread:.0f} ms apart"
        if not self.live:
            return f"end of {self._shown}{apart}"
        age = now - (self._camera_at or now)
        return f"live{apart}" if age <= CAMERA_OLD_S else f"OLD: no new image for {age:.0f} s"
