# SPDX-License-Identifier: Apache-2.0
"""The simulated arm paced by the wall clock, behind an imitated driver. No ROS."""

from __future__ import annotations

from erl_vlm_ros.sim.bridge import BridgeCore
from erl_vlm_ros.sim.drivers import Driver

TICK_S = 0.01  # how often the driver gives the drives a new reference
_LONGEST_LEAP_S = 0.2  # a process that was held up for longer does not catch up: the arm stood still meanwhile
_NS = 1_000_000_000


class RealTime:
    """Advances a BridgeCore in ticks up to the present, so that simulated and wall time pass alike."""

    def __init__(self, core: BridgeCore, driver: Driver, now_ns: int) -> None:
        """``driver`` ticks every TICK_S. ``now_ns``: wall time at which the arm stands as it does."""
        self.core, self.driver = core, driver
        self.width = core.arm.gripper_width
        self.paused = False
        self.lost_s = 0.0  # wall time that was not simulated
        self._simulated_ns = now_ns
        self.driver.reset(core.arm.joint_positions)
        core.stamp = now_ns

    def advance(self, now_ns: int) -> None:
        """Simulate up to ``now_ns``; less than a tick may remain. Time that goes back counts as no time."""
        tick = round(TICK_S * _NS)
        behind = now_ns - self._simulated_ns
        if self.paused:
            return
        if abs(behind) > _LONGEST_LEAP_S * _NS:
            self.lost_s += max(behind - tick, 0) / _NS
            self._simulated_ns = now_ns - tick
        while now_ns - self._simulated_ns >= tick:
            self._simulated_ns += tick
            self._tick()

    def _tick(self) -> None:
        arm = self.core.arm
        arm.track(self.driver.step(arm.joint_positions, self._simulated_ns), self.width, TICK_S)

    def pause(self, paused: bool, now_ns: int) -> None:
        """Stand still, or go on from now; commands from before a pause are forgotten."""
        self.advance(now_ns)
        self.paused, self._simulated_ns = paused, now_ns
        self.driver.reset(self.driver.reference)

    def step(self, seconds: float, now_ns: int) -> None:
        """While paused: simulate ``seconds``, and stamp the state with the present."""
        for _ in range(round(seconds / TICK_S)):
            self._tick()
        self.core.stamp = max(now_ns, self.core.stamp + 1)

    def observe(self, now_ns: int) -> None:
        """Bring the arm to the present and stamp the state with it."""
        self.advance(now_ns)
        self.core.stamp = max(now_ns, self.core.stamp + 1)

    def reset(self, episode_seed: int, episode_index: int, now_ns: int) -> dict[str, int]:
        """Start an episode; arguments and result as BridgeCore's. The driver forgets its last command."""
        started = self.core.reset(episode_seed, episode_index, now_ns)
        self.driver.reset(self.core.arm.joint_positions)
        self.width = self.core.arm.gripper_width
        self._simulated_ns = now_ns
        return started
