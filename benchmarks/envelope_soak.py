# SPDX-License-Identifier: Apache-2.0
"""Random and adversarial commands against the guard's core, with every promise checked at every step.

The core (`erl_vlm_ros.safety.core`) gets what a broken policy, a broken link or a broken clock may send: NaN,
infinities, 1e300, wrong frames, stamps that are old, from the future or going back, bursts, silence, poses that are
late, missing or not finite, late ticks, arming and e-stops at random. What it lets through is integrated exactly.
Checked after each tick: numbers finite; speed, acceleration, jerk and angular likewise within their limits; the way
per command within max_step_m; the tool inside the workspace and outside every forbidden box; and standing still
within stop_within_s after something needed has fallen silent.

    python benchmarks/envelope_soak.py --commands 1000000

Prints one JSON line last; exit status 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections import Counter, deque
from types import SimpleNamespace
from typing import Any

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.safety.config import guard_limits
from erl_vlm_ros.safety.core import GuardCore

_NS = 1_000_000_000
_BAD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e308, 5e-324, 1e-300)
_SLACK = 1e-6  # relative: rounding of the check's own differences
#: profiles of limits: what a careful, a quick and a minimal configuration ask for
PROFILES: dict[str, dict[str, Any]] = {
    "careful": {
        "max_speed": 0.25, "max_acceleration": 8.0, "max_jerk": 400.0, "max_angular_speed": 0.6,
        "max_angular_acceleration": 20.0, "max_angular_jerk": 1000.0, "max_step_m": 0.03, "rate_hz": 100.0,
        "forbidden_boxes": [0.44, -0.05, 0.05, 0.52, 0.04, 0.16, 0.36, 0.08, 0.2, 0.42, 0.14, 0.26],
    },
    "quick": {
        "max_speed": 0.9, "max_acceleration": 40.0, "max_jerk": 4000.0, "rate_hz": 50.0,
        "forbidden_boxes": [0.44, -0.05, 0.05, 0.52, 0.04, 0.16],
    },
    "laggy": {"max_speed": 0.5, "max_acceleration": 20.0, "max_jerk": 2000.0, "rate_hz": 100.0, "arm_lag_s": 0.06},
    "minimal": {"max_speed": 0.9, "forbidden_boxes": [0.44, -0.05, 0.05, 0.52, 0.04, 0.16]},
}  # fmt: skip


class Soak:
    """One core, one exactly integrated tool point, and an adversary that draws from ``rng``."""

    def __init__(self, seed: int, profile: str) -> None:
        self.rng = random.Random(seed)
        values = {param.name.replace(".", "_"): param.default for param in PARAMETERS["safety_guard"]}
        self.p = SimpleNamespace(**(values | {"lock_step": False} | PROFILES[profile]))
        self.limits = guard_limits(self.p, load_task("drawer_open"))
        self.core = GuardCore(self.limits)
        self.now, self.clock = 100.0, 10**15  # s monotonic, ns ROS
        self.dt = self.limits.linear.dt
        self.period, self.periods, self.last_slots = 0, 1, 1
        self.at = self._free_point()
        self.velocity = self.angular = self.rate = self.angular_rate = (0.0, 0.0, 0.0)
        self.way: deque[tuple[float, tuple[float, ...]]] = deque([(self.now - 1.0, self.at)], maxlen=64)
        self.heard = dict.fromkeys(("command", "pose", "joints"), -math.inf)
        self.mood, self.mood_left = "normal", 0
        self.commands = self.ticks = 0
        self.seen: Counter[str] = Counter()
        self.worst: dict[str, float] = {}

    def run(self, commands: int) -> dict[str, Any]:
        """Send ``commands``. AssertionError with the numbers when a promise is broken."""
        while self.commands < commands:
            self._change_mood()
            self._states()
            self._people()
            for _ in range(self._how_many()):
                self._command()
            self._tick()
        return {"commands": self.commands, "ticks": self.ticks, "worst": self.worst, "motions": dict(self.seen)}

    # -- the adversary

    def _change_mood(self) -> None:
        if self.mood_left <= 0:
            self.mood = self.rng.choice(("normal", "normal", "burst", "silence", "poison", "blind", "wall", "flip"))
            self.mood_left = self.rng.randrange(1, 60)
        self.mood_left -= 1

    def _how_many(self) -> int:
        if self.mood == "silence":
            return 0
        return self.rng.randrange(5, 40) if self.mood == "burst" else self.rng.randrange(0, 3)

    def _command(self) -> None:
        rng, top = self.rng, self.p.max_speed
        self.commands += 1
        linear = [rng.uniform(-2 * top, 2 * top) for _ in range(3)]
        if self.mood == "wall":  # along one axis, as fast as can be, against what stands there
            linear = [0.0, 0.0, 0.0]
            linear[rng.randrange(3)] = rng.choice((-10.0, 10.0))
        elif self.mood == "flip":
            linear = [rng.choice((-top, top)) for _ in range(3)]
        angular = [0.0] * 3
        if self.p.max_angular_speed > 0:
            angular = [rng.uniform(-3, 3) for _ in range(3)]
        if self.mood == "poison" or rng.random() < 0.02:
            for _ in range(rng.randrange(1, 4)):
                rng.choice((linear, angular))[rng.randrange(3)] = rng.choice(_BAD)
        frame = "base_link" if rng.random() < 0.98 else rng.choice(("", "tool0", "world"))
        stamp = self.clock
        if rng.random() < 0.1:
            stamp += rng.choice((-3600, -10, -1, -0.1, -0.02, 0.02, 0.1, 1, 10**6)) * _NS
        refused = self.core.command(tuple(linear), tuple(angular), frame, int(stamp), self.clock, self.now)
        good = all(map(math.isfinite, (*linear, *angular))) and frame == "base_link"
        good = good and (self.p.max_angular_speed > 0 or not any(angular))
        assert good or refused, (linear, angular, frame)
        assert not (good and refused and stamp == self.clock) or "goes back" in refused, refused
        if not refused:
            self.heard["command"] = self.now

    def _states(self) -> None:
        rng = self.rng
        if self.mood == "blind" and rng.random() < 0.9:
            return
        if rng.random() < 0.8:
            # The arm is where the commands led arm_lag_s ago, and some measurements are long under way.
            known = [entry for entry in self.way if entry[0] + self.p.arm_lag_s <= self.now]
            led, position = rng.choice(known) if rng.random() < 0.3 else known[-1]
            age = self.now - led - self.p.arm_lag_s
            if rng.random() < 0.02:
                position = (math.nan, *position[1:])
            stamp = self.clock - round(age * _NS)
            if not self.core.inputs.update_pose(position, "base_link", stamp, self.clock, self.now):
                self.heard["pose"] = self.now
        if rng.random() < 0.8:
            stamp = self.clock + (rng.choice((0, 0, 0, 10, -10)) * _NS)
            if not self.core.inputs.update_joints({"joint1": rng.random()}, stamp, self.clock, self.now):
                self.heard["joints"] = self.now

    def _people(self) -> None:
        rng, dog = self.rng, self.core.watchdog
        if rng.random() < 0.001:
            dog.estop("test")
        if rng.random() < 0.001:
            self.core.arm(False, self.now)
        if dog.state != "armed" and rng.random() < 0.1:
            dog.clear_estop()
            self.core.arm(True, self.now)

    # -- the arm

    def _tick(self) -> None:
        motion = self.core.tick(self.now, self.periods)
        self.seen[motion.kind] += 1
        self._check(motion)
        # Ticks belong to a grid of time; some are late within their period, some miss theirs.
        missed = self.rng.randrange(max(1, round(self.limits.linear.hold_s / self.dt) - 1))
        self.last_slots, self.periods = self.periods, 1 + missed * (self.rng.random() < 0.05)
        self.period += self.periods
        late = self.rng.random() * self.dt * (self.rng.random() < 0.2)
        step = 100.0 + self.period * self.dt + late - self.now
        before = self.at
        self.now += step
        self.clock += round(step * _NS)
        self.at = tuple(p + v * step for p, v in zip(self.at, self.velocity))
        self.way.append((self.now, self.at))
        self.ticks += 1
        self._check_place(before)

    def _check(self, motion: Any) -> None:
        core, limits = self.core, self.limits
        assert all(map(math.isfinite, (*motion.linear, *motion.angular))), motion
        assert motion.kind == "move" or not any((*motion.linear, *motion.angular)), motion
        for name, velocity, last, last_rate, dynamics in (
            ("linear", motion.linear, self.velocity, self.rate, limits.linear),
            ("angular", motion.angular, self.angular, self.angular_rate, limits.angular),
        ):
            rate = tuple((a - b) / (self.dt * self.periods) for a, b in zip(velocity, last))
            if dynamics is None:
                assert not any(velocity), motion
            else:
                self._within(f"{name} speed", math.hypot(*velocity), dynamics.max_speed)
                if dynamics.max_acceleration > 0:
                    self._within(f"{name} acceleration", math.hypot(*rate), dynamics.max_acceleration)
                if dynamics.max_jerk > 0:
                    time_s = self.dt * max(self.periods, self.last_slots)
                    jerk = math.hypot(*(a - b for a, b in zip(rate, last_rate))) / time_s
                    self._within(f"{name} jerk", jerk, dynamics.max_jerk)
            if name == "linear":
                self.velocity, self.rate = velocity, rate
            else:
                self.angular, self.angular_rate = velocity, rate
        if self.p.max_step_m > 0:
            self._within("step", math.hypot(*motion.linear) * self.p.horizon_s, self.p.max_step_m)
        silence = max(
            self.now - self.heard["command"] - self.p.command_timeout_s,
            self.now - self.heard["pose"] - self.p.state_timeout_s,
            self.now - self.heard["joints"] - self.p.state_timeout_s,
        )
        # Late ticks are the clock's fault, not the guard's: they are allowed for.
        if silence > self.p.stop_within_s + limits.linear.hold_s * 4:
            assert not any((*motion.linear, *motion.angular)), (silence, motion)
        assert core.watchdog.state == "armed" or motion.kind != "joints"

    def _check_place(self, before: tuple[float, ...]) -> None:
        box = self.limits.envelope.box()
        assert box.contains(self.at), (self.at, self.velocity)
        for forbidden in self.limits.forbidden:
            low = [min(a, b) for a, b in zip(before, self.at)]
            high = [max(a, b) for a, b in zip(before, self.at)]
            if forbidden.intersects(low, high):  # the hull of the way only touches it: look at the way itself
                for k in range(33):
                    point = [a + (b - a) * k / 32 for a, b in zip(before, self.at)]
                    assert not forbidden.intersects(point, point), (point, forbidden)

    def _within(self, name: str, value: float, most: float) -> None:
        self.worst[name] = max(self.worst.get(name, 0.0), value / most)
        assert value <= most * (1 + _SLACK), f"{name} {value} above {most}"

    def _free_point(self) -> tuple[float, ...]:
        box = self.limits.envelope.box()
        while True:
            point = tuple(self.rng.uniform(a, b) for a, b in zip(box.low, box.high))
            if not any(other.intersects(point, point) for other in self.limits.forbidden):
                return point


def main() -> int:
    """Run every profile on its share of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", choices=sorted(PROFILES), nargs="*", default=sorted(PROFILES))
    args = parser.parse_args()
    began, rows, broken = time.monotonic(), {}, ""
    for i, profile in enumerate(args.profile):
        soak = Soak(args.seed + i, profile)
        try:
            rows[profile] = soak.run(args.commands // len(args.profile))
        except AssertionError as error:
            broken = f"{profile} after {soak.commands} commands: {error}"
            break
        print(f"{profile}: {rows[profile]}", file=sys.stderr)
    result = {
        "benchmark": "envelope_soak", "seed": args.seed, "commands": sum(r["commands"] for r in rows.values()),
        "wall_s": round(time.monotonic() - began, 1), "broken": broken, "profiles": rows,
    }  # fmt: skip
    print(json.dumps(result))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
