# SPDX-License-Identifier: Apache-2.0
"""Declare a parameter table on a node, with descriptors that say type, range and text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from erl_vlm_ros.params.param import Param, resolve


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
    out = ParameterDescriptor(description=param.description, read_only=param.read_only)
    out.additional_constraints = param.limits
    out.dynamic_typing = bool(param.unset)  # rclpy ties "not set" to a type that no value has
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
