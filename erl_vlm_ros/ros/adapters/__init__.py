# SPDX-License-Identifier: Apache-2.0
"""How the guard's command reaches an arm: one module per kind of driver, chosen by the parameter ``adapter``.

Nothing is imported before it is chosen: the parameter tables are read without ROS, and an adapter's message
packages need not be installed for the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erl_vlm_ros.ros.adapters.base import ArmAdapter
    from erl_vlm_ros.ros.node_base import BaseNode

#: parameter value -> (module, class)
ADAPTERS = {"servo_twist": ("servo_twist", "ServoTwist")}
GRIPPERS = {"position": ("gripper_position", "PositionGripper"), "none": ("gripper_none", "NoGripper")}


def make_adapter(node: BaseNode, p: Any) -> ArmAdapter:
    """The adapter ``p.adapter`` with the gripper ``p.gripper``; publishers are made, nothing is sent.

    Call ``prepare()`` on it before the node spins. ``p`` holds the parameters of
    ``erl_vlm_ros.ros.adapters.parameters`` and base_frame, gripper_max, rate_hz, lock_step.

    Raises:
        ConfigError: a message package that the choice needs is not installed.
    """
    gripper = _load(GRIPPERS[p.gripper])(node, p)
    return _load(ADAPTERS[p.adapter])(node, p, gripper)


def _load(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(f"{__name__}.{place[0]}"), place[1])
