# SPDX-License-Identifier: Apache-2.0
"""How the guard's command reaches an arm: one module per kind of driver, chosen by the parameter ``adapter``.

Nothing is imported before it is chosen: the parameter tables are read without ROS, and an adapter's message
packages need not be installed for the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from erl_vlm_ros.robot.drivers import ADAPTERS, GRIPPERS

if TYPE_CHECKING:
    from erl_vlm_ros.ros.adapters.base import ArmAdapter
    from erl_vlm_ros.ros.node_base import BaseNode


def make_adapter(node: BaseNode, p: Any) -> ArmAdapter:
    """The adapter ``p.adapter`` with the gripper ``p.gripper``; publishers are made, nothing is sent.

    Call ``prepare()`` on it before the node spins. ``p`` holds the parameters of
    ``erl_vlm_ros.params.tables._adapters`` and base_frame, rate_hz and lock_step.

    Raises:
        ConfigError: an unknown name, or a message package that the choice needs is not installed.
    """
    gripper = _load("gripper", GRIPPERS, p.gripper)(node, p)
    return _load("adapter", ADAPTERS, p.adapter)(node, p, gripper)


def _load(parameter: str, table: dict[str, tuple[str, str]], name: str) -> Any:
    if name not in table:
        from erl_vlm_ros.common.errors import Code, ConfigError

        text = f"parameter '{parameter}' is '{name}'; it must be one of {', '.join(table)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter=f"safety_guard.{parameter}")
    module, kind = table[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)
