# SPDX-License-Identifier: Apache-2.0
"""Boxes in the base frame: where the tool point must stay, and where it must not go. Metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from erl_vlm_ros.common.errors import ConfigError

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Box:
    """An axis-aligned box. ConfigError when it is empty or not finite; ``name`` is what messages call it."""

    low: Vector
    high: Vector
    name: str = "box"

    def __post_init__(self) -> None:
        sides = zip(self.low, self.high, strict=True)
        if not all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in sides):
            text = f"{self.name} {list(self.low)} to {list(self.high)} is empty or not finite"
            raise ConfigError(text, parameter=self.name.removesuffix(" box"))

    def contains(self, position: Sequence[float], margin: float = 0.0) -> bool:
        """Whether a point lies in the box, its faces included, or no farther outside than ``margin`` on any axis."""
        sides = zip(self.low, position, self.high, strict=True)
        return all(a - margin <= p <= b + margin for a, p, b in sides)

    def intersects(self, low: Sequence[float], high: Sequence[float], gap: float = 0.0) -> bool:
        """Whether the box from ``low`` to ``high`` comes nearer than ``gap`` to this one; touching is not meeting."""
        for a, b, mine_low, mine_high in zip(low, high, self.low, self.high):
            if b <= mine_low - gap or a >= mine_high + gap:
                return False
        return True

    def nearest_face(self, position: Sequence[float]) -> tuple[int, int]:
        """Of a point inside: axis 0..2 and side -1 or +1 of the face that is the shortest way out."""
        depths = [
            (depth, axis, side)
            for axis in range(3)
            for depth, side in (
                (position[axis] - self.low[axis], -1),
                (self.high[axis] - position[axis], 1),
            )
        ]
        _, axis, side = min(depths)
        return axis, side


def parse_boxes(numbers: Sequence[float], parameter: str) -> tuple[Box, ...]:
    """Boxes from a flat list, six numbers each: low x, y, z, high x, y, z. Six zeros stand for no box.

    Raises:
        ConfigError: names ``parameter``; the length is no multiple of six, or a box is empty.
    """
    if len(numbers) % 6:
        raise ConfigError(
            f"parameter '{parameter}' has {len(numbers)} numbers; it needs six for each box "
            "(low x, y, z, high x, y, z in m)",
            parameter=f"safety_guard.{parameter}",
        )
    boxes = []
    for i in range(0, len(numbers), 6):
        values = [float(v) for v in numbers[i : i + 6]]
        if any(values):
            x, y, z, *high = values
            boxes.append(Box((x, y, z), (high[0], high[1], high[2]), f"{parameter}[{i // 6}]"))
    return tuple(boxes)
