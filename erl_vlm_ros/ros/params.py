# SPDX-License-Identifier: Apache-2.0
"""Parameters as tables: one line of data per parameter gives its type, default, range and description.

A node's table is ``PARAMETERS`` in ``erl_vlm_ros/ros/parameters/NODE.py``;
``erl_vlm_ros.ros.parameters.PARAMETERS`` collects them all. Tables and checks need no rclpy: the reference
page and the tests read them directly.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any

from erl_vlm_ros.errors import ConfigError

if TYPE_CHECKING:
    from rclpy.node import Node

_KINDS = {bool: "bool", int: "int", float: "float", str: "str"}
#: set by ROS itself, not by a table
_BUILT_IN = ("use_sim_time", "start_type_description_service")
_BUILT_IN_PREFIX = "qos_overrides."


@dataclass(frozen=True)
class Param:
    """One parameter. Its type is that of ``default``: bool, int, float, str, or a non-empty list of them.

    ``low`` and ``high`` bound a number, every entry of a list of numbers; ``choices`` lists the allowed
    values of a string or int. A list keeps the length of its default unless ``any_length``.
    ``read_only=False``: may be set while the node runs.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    read_only: bool = True
    any_length: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.default, (list, tuple)) and not self.default:
            raise ValueError(f"{self.name}: an empty list has no type; give a default with an entry")
        self.check(self.default, "table")

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return isinstance(self.default, (list, tuple))

    @property
    def type(self) -> str:
        """For instance ``float`` or ``float[]``."""
        return _KINDS[type(self.default[0])] + "[]" if self.is_list else _KINDS[type(self.default)]

    @property
    def limits(self) -> str:
        """What values are allowed, for messages and the reference page; empty: anything of the type."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.high is not None else ""

    def check(self, value: Any, node: str) -> Any:
        """The value in the declared type (a whole number is fine for a float). ConfigError otherwise."""
        where = f"parameter '{self.name}' of {node}"
        if self.is_list:
            items = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else None
            if items is None or not items or (len(items) != len(self.default) and not self.any_length):
                count = "a non-empty list" if self.any_length else f"a list of {len(self.default)}"
                raise ConfigError(f"{where} is {_show(value)}; it must be {count} ({self.type})")
            return [self._check_one(item, type(self.default[0]), where) for item in items]
        return self._check_one(value, type(self.default), where)

    def _check_one(self, value: Any, kind: type, where: str) -> Any:
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(f"{where} is {_show(value)}; it must be of type {_KINDS[kind]}")
        if kind is float and not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; it must be finite")
        low = kind in (int, float) and self.low is not None and value < self.low
        high = kind in (int, float) and self.high is not None and value > self.high
        if low or high or (self.choices and value not in self.choices):
            raise ConfigError(f"{where} is {_show(value)}; it must be {self.limits}")
        return value


def _show(value: Any) -> str:
    return repr(list(value)) if not isinstance(value, (str, bytes, int, float, bool, type(None))) else repr(value)


def resolve(node: str, table: Iterable[Param], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults with ``overrides`` on top. ConfigError for an unknown key, a wrong type or a wrong value."""
    params = {p.name: p for p in table}
    for key in overrides:
        if key in params or key in _BUILT_IN or key.startswith(_BUILT_IN_PREFIX):
            continue
        near = difflib.get_close_matches(key, params, 1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise ConfigError(f"{node} has no parameter '{key}'{hint}; remove or rename it in the parameter file")
    return {name: p.check(overrides.get(name, p.default), node) for name, p in params.items()}


def namespace(node: str, values: Mapping[str, Any]) -> Any:
    """Values as attributes of a frozen dataclass; dots in names become underscores."""
    fields = {key.replace(".", "_"): value for key, value in values.items()}
    kind = make_dataclass(f"{node.title().replace('_', '')}Parameters", list(fields), frozen=True)
    return kind(**fields)


def declare(node: Node, table: Iterable[Param]) -> dict[str, Any]:
    """Declare a table on a node and return the values as they are at start, by name.

    Raises:
        ConfigError: a key that the table lacks (a misspelt YAML key), a wrong type or a value out of range.
    """
    table = list(table)
    name = node.get_name()
    # rclpy keeps the overrides of YAML files and -p arguments there; there is no public accessor.
    overrides = {key: parameter.value for key, parameter in node._parameter_overrides.items()}
    values = resolve(name, table, overrides)
    for param in table:
        node.declare_parameter(param.name, values[param.name], _descriptor(param), ignore_override=True)
    return values


def _descriptor(param: Param) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    out = ParameterDescriptor(description=param.description, read_only=param.read_only)
    out.additional_constraints = param.limits
    if param.low is None and param.high is None or param.is_list:
        return out
    if param.type == "int":
        low, high = (
            (-(2**63) if param.low is None else int(param.low)),
            (2**63 - 1 if param.high is None else int(param.high)),
        )
        out.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    elif param.type == "float":
        low, high = (
            (-1.7e308 if param.low is None else param.low),
            (1.7e308 if param.high is None else param.high),
        )
        out.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return out
