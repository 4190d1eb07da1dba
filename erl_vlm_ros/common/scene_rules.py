# SPDX-License-Identifier: Apache-2.0
"""``simulation`` of a task file with a ``scene`` of its own: where things begin, and what is true of an instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from erl_vlm_ros.common.errors import Code
from erl_vlm_ros.common.expressions import Expression, parse
from erl_vlm_ros.common.place import Place

Triple = tuple[float, float, float]
_KEYS = ("progress", "success", "classes", "object", "start", "place")


@dataclass(frozen=True)
class Placement:
    """A body's random place at a reset: low and high corner [3] m of its position, yaw in rad from low to high."""

    low: Triple
    high: Triple
    yaw: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class SceneRules:
    """progress: 0 to 1. success: true or false. classes: n -> n - 1 conditions, of the classes above the lowest; an
    instant is of the highest class whose condition holds. Without them progress is divided evenly, and the highest
    class is success. object: site that object_pose tells. start: box of the tool's random start. place: body ->
    Placement.
    """

    progress: Expression
    success: Expression
    classes: dict[int, tuple[Expression, ...]] = field(default_factory=dict)
    object: str = ""
    start: tuple[Triple, Triple] | None = None
    place: dict[str, Placement] = field(default_factory=dict)

    def expressions(self) -> list[tuple[str, Expression]]:
        """(key for messages, expression), all of them."""
        out = [("simulation.progress", self.progress), ("simulation.success", self.success)]
        return out + [(f"simulation.classes.{n}", e) for n, conditions in self.classes.items() for e in conditions]


def read_rules(raw: Any, place: Place, vector: Callable[..., Triple]) -> SceneRules:
    """Check the mapping ``simulation``; ``vector`` checks three numbers. ConfigError names file, line and key."""
    if not isinstance(raw, dict) or not {"progress", "success"} <= set(raw):
        raise place.refused(" needs progress and success: expressions over the scene", "simulation")
    unknown = [key for key in raw if key not in _KEYS]
    if unknown:
        raise place.refused(f" unknown key; allowed: {', '.join(_KEYS)}", "simulation", unknown[0], code=Code.UNKNOWN)
    start = raw.get("start")
    return SceneRules(
        _expression(raw["progress"], place, "simulation", "progress"),
        _expression(raw["success"], place, "simulation", "success"),
        _classes(raw.get("classes") or {}, place),
        _name(raw.get("object") or "", place, "simulation", "object"),
        None if start is None else _box(start, place, vector, "simulation", "start"),
        _placements(raw.get("place") or {}, place, vector),
    )


def _expression(text: Any, place: Place, *keys: Any) -> Expression:
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise place.refused(f" must be an expression, got {text!r}", *keys)
    try:
        return parse(str(text))
    except ValueError as error:
        raise place.refused(f" {error}", *keys) from None


def _classes(raw: Any, place: Place) -> dict[int, tuple[Expression, ...]]:
    if not isinstance(raw, dict):
        raise place.refused(" must map a number n to n - 1 conditions", "simulation", "classes")
    out = {}
    for n, conditions in raw.items():
        if type(n) is not int or not 2 <= n <= 5 or not isinstance(conditions, list) or len(conditions) != n - 1:
            message = "must map n, 2 to 5, to n - 1 conditions: of the classes above the lowest, in their order"
            raise place.refused(f" {message}", "simulation", "classes", n)
        out[n] = tuple(_expression(text, place, "simulation", "classes", n) for text in conditions)
    return out


def _placements(raw: Any, place: Place, vector: Callable[..., Triple]) -> dict[str, Placement]:
    if not isinstance(raw, dict):
        raise place.refused(" must map a body to min and max, and yaw", "simulation", "place")
    out = {}
    for body, given in raw.items():
        keys = ("simulation", "place", body)
        extra = set(given) - {"min", "max", "yaw"} if isinstance(given, dict) else {""}
        if extra:
            raise place.refused(" needs min and max, [x, y, z] in m, and may have yaw, [low, high] in rad", *keys)
        box = {key: value for key, value in given.items() if key != "yaw"}
        yaw = given.get("yaw", [0.0, 0.0])
        if not isinstance(yaw, list) or len(yaw) != 2:
            raise place.refused(" must be [low, high] in rad", *keys, "yaw")
        turn = vector([*yaw, 0.0], place, *keys, "yaw")
        if turn[0] > turn[1]:
            raise place.refused(" must be [low, high] in rad", *keys, "yaw")
        out[str(body)] = Placement(*_box(box, place, vector, *keys), (turn[0], turn[1]))
    return out


def _box(raw: Any, place: Place, vector: Callable[..., Triple], *keys: Any) -> tuple[Triple, Triple]:
    if not isinstance(raw, dict) or set(raw) != {"min", "max"}:
        raise place.refused(" needs exactly the keys min and max, each [x, y, z] in m", *keys)
    low, high = (vector(raw[key], place, *keys, key) for key in ("min", "max"))
    if any(a > b for a, b in zip(low, high)):
        raise place.refused(f" min {list(low)} must not be above max {list(high)}", *keys)
    return low, high


def _name(text: Any, place: Place, *keys: Any) -> str:
    if not isinstance(text, str):
        raise place.refused(f" must be a name, got {text!r}", *keys)
    return text
