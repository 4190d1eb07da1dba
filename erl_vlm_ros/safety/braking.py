# SPDX-License-Identifier: Apache-2.0
"""One axis of motion under limits of acceleration and jerk, in steps of fixed length.

The law takes the strongest acceleration towards a wanted velocity from which that velocity can still be met
without passing it. Its accelerations on the way in are x, x - j, x - 2j, ..., where j is the change of
acceleration that a step allows, so what they add to the velocity, in units of acceleration times step, is
S(x) = (n + 1) x - j n (n + 1) / 2 with n = floor(x / j). The law inverts S. A limit may be infinite.
"""

from __future__ import annotations

import math

_STILL = 1e-12  # m/s or m/s^2: rounding, not motion


def towards(
    velocity: float, acceleration: float, target: float, dt: float, most: float, change: float
) -> tuple[float, float]:
    """(velocity, acceleration) after one step of ``dt`` s on the way to ``target``.

    ``most``: largest acceleration; ``change``: largest change of acceleration in a step (jerk times dt).
    |acceleration| must be <= ``most`` and then stays so.
    """
    gap = velocity - target
    if change == math.inf:
        x = abs(gap) / dt
    else:
        steps = abs(gap) / dt
        n = int((math.sqrt(1.0 + 8.0 * steps / change) - 1.0) / 2.0)
        x = (steps + change * (n * (n + 1) / 2)) / (n + 1)
    desired = min(x, most)
    if gap > 0.0:
        desired = -desired
    if desired > acceleration + change:
        desired = acceleration + change
    elif desired < acceleration - change:
        desired = acceleration - change
    after = velocity + desired * dt
    if abs(after - target) < _STILL:
        after = target
    if abs(desired) < _STILL:
        desired = 0.0
    return after, desired


def sweep(
    velocity: float, acceleration: float, dt: float, most: float, change: float
) -> tuple[float, float, float, float]:
    """What the axis does if ``velocity`` is kept for one step and it brakes from then on.

    Returns (lowest, highest) displacement on the way and (lowest, highest) velocity, zeros included.
    """
    at = velocity * dt
    low, high = min(0.0, at), max(0.0, at)
    slow, fast = min(0.0, velocity), max(0.0, velocity)
    while velocity != 0.0 or acceleration != 0.0:
        velocity, acceleration = towards(velocity, acceleration, 0.0, dt, most, change)
        at += velocity * dt
        if at < low:
            low = at
        elif at > high:
            high = at
        if velocity < slow:
            slow = velocity
        elif velocity > fast:
            fast = velocity
    return low, high, slow, fast


def stop_steps(speed: float, dt: float, most: float, change: float, enough: int = 1000) -> int:
    """Most steps of a stop from any state on the way from -``speed`` to ``speed``; counted to ``enough``."""
    velocity, acceleration, worst = -speed, 0.0, 0
    for _ in range(enough):
        worst = max(worst, _steps(velocity, acceleration, dt, most, change, enough))
        if worst >= enough or velocity == speed:
            break
        velocity, acceleration = towards(velocity, acceleration, speed, dt, most, change)
    return worst


def _steps(velocity: float, acceleration: float, dt: float, most: float, change: float, enough: int) -> int:
    """Steps until the velocity is zero for good."""
    count, needed = 0, int(velocity != 0.0)
    while (velocity != 0.0 or acceleration != 0.0) and count < enough:
        velocity, acceleration = towards(velocity, acceleration, 0.0, dt, most, change)
        count += 1
        if velocity != 0.0:
            needed = count + 1
    return needed
