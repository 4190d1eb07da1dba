# SPDX-License-Identifier: Apache-2.0
"""Expressions of a task file over named things of its scene: parsed by Python's grammar, never run as Python.

Only numbers, comparisons, arithmetic, ``and``/``or``/``not``, ``A if C else B``, a few functions and the names of
VALUES are understood; anything else is refused when the file is read. Numbers are floats, so that nothing can grow for
ever.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

_LONGEST, _DEEPEST = 500, 30
VALUES = ("tool", "width", "time")  # tool point [3] m, gripper's opening m, s since the reset
LOOKUPS = ("joint", "speed", "site", "body")  # by name: rad or m, rad/s or m/s, [3] m, [3] m
#: name -> what it computes, and of how few and how many values
_FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {
    "distance": (lambda a, b: float(np.linalg.norm(np.subtract(a, b))), 2, 2),
    "clip": (lambda value, low, high: min(max(value, low), high), 3, 3),
    "abs": (abs, 1, 1),
    "min": (min, 2, 9),
    "max": (max, 2, 9),
    "exp": (lambda value: math.exp(min(value, 700.0)), 1, 1),
    "sqrt": (lambda value: math.sqrt(max(value, 0.0)), 1, 1),
}
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


class Scene(Protocol):
    """What an expression looks things up in."""

    def value(self, name: str) -> Any:
        """One of VALUES."""

    def look_up(self, kind: str, name: str) -> Any:
        """One of LOOKUPS by its name. KeyError: there is none."""


@dataclass(frozen=True)
class Expression:
    """A checked expression. ``names``: (kind of LOOKUPS, name) of all that it looks up."""

    text: str
    tree: ast.expr
    names: tuple[tuple[str, str], ...]

    def __call__(self, scene: Scene) -> float:
        """Its value; true is 1. Not a number where it cannot be computed: a division by zero."""
        try:
            return float(_value(self.tree, scene))
        except (ArithmeticError, ValueError, TypeError):
            return math.nan


def parse(text: str) -> Expression:
    """Check an expression. ValueError says what in it is not understood."""
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"is no expression: {error}") from None
    return Expression(text, tree, tuple(dict.fromkeys(_check(tree, 0))))


def _check(node: ast.expr, depth: int) -> Iterator[tuple[str, str]]:
    """Refuse what is not on the list; yields what is looked up."""
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        return
    if isinstance(node, ast.Name) and node.id in VALUES:
        return
    if isinstance(node, ast.Call):
        yield from _check_call(node, depth)
        return
    if isinstance(node, ast.Subscript):
        index = node.slice
        if not (isinstance(index, ast.Constant) and type(index.value) is int and index.value in (0, 1, 2)):
            raise ValueError(f"has {ast.unparse(node)}: an index must be 0, 1 or 2, for x, y or z")
        yield from _check(node.value, depth + 1)
        return
    inner: list[ast.expr]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        inner = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd, ast.Not)):
        inner = [node.operand]
    elif isinstance(node, ast.BoolOp):
        inner = node.values
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        inner = [node.left, *node.comparators]
    elif isinstance(node, ast.IfExp):
        inner = [node.test, node.body, node.orelse]
    else:
        known = ", ".join((*VALUES, *(f"{n}('NAME')" for n in LOOKUPS), *_FUNCTIONS))
        raise ValueError(f"has {ast.unparse(node)[:80]!r}, which is not understood; there are {known} and arithmetic")
    for part in inner:
        yield from _check(part, depth + 1)


def _check_call(node: ast.Call, depth: int) -> Iterator[tuple[str, str]]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if node.keywords or (name not in LOOKUPS and name not in _FUNCTIONS):
        raise ValueError(
            f"has {ast.unparse(node)[:80]!r}; the functions are {', '.join((*LOOKUPS, *_FUNCTIONS))}, without keywords"
        )
    if name in LOOKUPS:
        named = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if len(node.args) != 1 or len(named) != 1:
            raise ValueError(f"has {ast.unparse(node)[:80]!r}: {name} takes one name in quotes")
        yield name, named[0]
        return
    _, low, high = _FUNCTIONS[name]
    if not low <= len(node.args) <= high:
        raise ValueError(
            f"has {ast.unparse(node)[:80]!r}: {name} takes {low}{'' if low == high else ' or more'} values"
        )
    for argument in node.args:
        yield from _check(argument, depth + 1)


def _value(node: ast.expr, scene: Scene) -> Any:
    if isinstance(node, ast.Constant):
        return float(node.value)
    if isinstance(node, ast.Name):
        return scene.value(node.id)
    if isinstance(node, ast.Call):
        name = node.func.id
        if name in LOOKUPS:
            return scene.look_up(name, node.args[0].value)
        return _FUNCTIONS[name][0](*(_value(argument, scene) for argument in node.args))
    if isinstance(node, ast.Subscript):
        return float(_value(node.value, scene)[node.slice.value])
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, scene), _value(node.right, scene))
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, scene)
        return float(not value) if isinstance(node.op, ast.Not) else -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BoolOp):
        every = isinstance(node.op, ast.And)
        values = (bool(_value(part, scene)) for part in node.values)
        return float(all(values) if every else any(values))
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, scene) else node.orelse, scene)
    left = _value(node.left, scene)
    for op, part in zip(node.ops, node.comparators):
        right = _value(part, scene)
        if not _COMPARE[type(op)](left, right):
            return 0.0
        left = right
    return 1.0
