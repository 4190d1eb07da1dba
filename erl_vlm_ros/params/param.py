# SPDX-License-Identifier: Apache-2.0
"""Parameters as tables: one line of data per parameter gives its type, default, range and description.

A node's table is ``PARAMETERS`` in ``erl_vlm_ros/params/tables/NODE.py``;
``erl_vlm_ros.params.tables.PARAMETERS`` collects them all. Tables and checks need no rclpy: the reference
page and the tests read them directly.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from erl_vlm_ros.common.errors import Code, ConfigError, wrong_parameter
from erl_vlm_ros.common.secrets import check_secrets
from erl_vlm_ros.params import renamed

_KINDS = {bool: "bool", int: "int", float: "float", str: "str"}
#: set by ROS itself, not by a table
_BUILT_IN = ("use_sim_time", "start_type_description_service")
_BUILT_IN_PREFIX = "qos_overrides."


@dataclass(frozen=True)
class Param:
    """One parameter. Its type is that of ``default``: bool, int, float, str, or a non-empty list of them.

    ``low`` and ``high`` bound a number, every entry of a list of numbers; ``choices`` lists the allowed
    values of a string or int. A list keeps the length of its default unless ``any_length``. ``unset``: the type,
    "float" or "str[]", of a parameter that may also be None: not set; a default of None needs it.
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
    unset: str = ""

    def __post_init__(self) -> None:
        if not self.unset and isinstance(self.default, (list, tuple)) and not self.default:
            raise ValueError(f"{self.name}: an empty list has no type; give a default with an entry")
        self.check(self.default, "table")

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.unset.endswith("[]") or isinstance(self.default, (list, tuple))

    @property
    def type(self) -> str:
        """For instance ``float`` or ``float[]``."""
        if self.unset:
            return self.unset
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
        if value is None and self.unset:
            return None
        kind = next(kind for kind, name in _KINDS.items() if name == self.type.removesuffix("[]"))
        if self.is_list:
            items = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else None
            free = self.any_length or self.default is None
            if items is None or not items or (not free and len(items) != len(self.default)):
                count = "a non-empty list" if free else f"a list of {len(self.default)}"
                raise self._refused(f"is {_show(value)}; it must be {count} ({self.type})", node)
            return [self._check_one(item, kind, node) for item in items]
        return self._check_one(value, kind, node)

    def _check_one(self, value: Any, kind: type, node: str) -> Any:
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self._refused(f"is {_show(value)}; it must be of type {_KINDS[kind]}", node)
        if kind is float and not math.isfinite(value):
            raise self._refused(f"is {value}; it must be finite", node)
        low = kind in (int, float) and self.low is not None and value < self.low
        high = kind in (int, float) and self.high is not None and value > self.high
        if low or high or (self.choices and value not in self.choices):
            raise self._refused(f"is {_show(value)}; it must be {self.limits}", node)
        return value

    def _refused(self, problem: str, node: str) -> ConfigError:
        return wrong_parameter(node, self.name, problem)


def group(prefix: str, cls: type, leave: Iterable[str] = (), unset: str = "") -> tuple[Param, ...]:
    """The parameters of a ``common.config`` class, named ``prefix.field`` (or ``field`` without a prefix).

    ``leave``: fields that are not parameters. Fields that are configurations themselves become groups. ``unset``: what
    holds for a parameter that is not set; all are unset by default then.
    """
    out: list[Param] = []
    hints = get_type_hints(cls, include_extras=True)
    for name, field in cls.__pydantic_fields__.items():
        if name in leave:
            continue
        full = f"{prefix}.{name}" if prefix else name
        if hasattr(hints[name], "__pydantic_fields__"):
            out += group(full, hints[name], unset=unset)
            continue
        param = _param(full, hints[name], field)
        if unset:
            text = f"{param.description.removesuffix('.')}; not set: {unset}."
            param = replace(param, default=None, description=text, unset=param.type)
        out.append(param)
    return tuple(out)


def _param(name: str, hint: Any, field: Any) -> Param:
    """A Param from an annotation and pydantic's FieldInfo."""
    options = [kind for kind in get_args(hint) if kind is not type(None)]
    optional = get_origin(hint) in (Union, UnionType) and len(options) < len(get_args(hint))
    hint = options[0] if optional else hint
    bounds, entries, is_list = field.metadata, hint, get_origin(hint) is tuple
    if is_list:
        entries = get_args(hint)[0]
        if get_origin(entries) is Annotated:
            entries, marks = get_args(entries)
            bounds = marks.metadata
    choices = get_args(entries) if get_origin(entries) is Literal else ()
    kind = _KINDS[type(choices[0]) if choices else entries]
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return Param(
        name,
        default,
        field.description,
        low=next((mark.ge for mark in bounds if hasattr(mark, "ge")), None),
        high=next((mark.le for mark in bounds if hasattr(mark, "le")), None),
        choices=choices,
        any_length=is_list and get_args(hint)[-1] is Ellipsis,
        unset=(kind + "[]" * is_list) if optional else "",
    )


def file_of(origin: str) -> str:
    """The file that the origin of a layer of parameters names (``FILE: parameters``), for errors; empty: none."""
    file = origin.removesuffix(": parameters")
    return file if file.endswith((".yaml", ".yml")) else ""


def _show(value: Any) -> str:
    return repr(list(value)) if not isinstance(value, (str, bytes, int, float, bool, type(None))) else repr(value)


def resolve(node: str, table: Iterable[Param], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults with ``overrides`` on top. ConfigError for an unknown key, a wrong type or a wrong value."""
    params = {p.name: p for p in table}
    overrides = renamed.parameters(node, overrides)
    for key in overrides:
        if key in params or key in _BUILT_IN or key.startswith(_BUILT_IN_PREFIX):
            continue
        near = difflib.get_close_matches(key, params, 1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        text = f"{node} has no parameter '{key}'{hint}; remove or rename it in the parameter file"
        raise ConfigError(text, code=Code.UNKNOWN, parameter=f"{node}.{key}")
    check_secrets(node, overrides)
    return {name: p.check(overrides.get(name, p.default), node) for name, p in params.items()}


def namespace(node: str, values: Mapping[str, Any]) -> Any:
    """Values as attributes of a frozen dataclass; dots in names become underscores."""
    fields = {key.replace(".", "_"): value for key, value in values.items()}
    kind = make_dataclass(f"{node.title().replace('_', '')}Parameters", list(fields), frozen=True)
    return kind(**fields)
