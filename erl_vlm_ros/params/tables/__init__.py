# SPDX-License-Identifier: Apache-2.0
"""Parameter tables: one module per node, named like the node, with a tuple ``PARAMETERS`` of Param. No rclpy.

To add a node: add ``erl_vlm_ros/params/tables/NODE.py``; nothing has to be registered.
"""

from __future__ import annotations

import importlib
import pkgutil

from erl_vlm_ros.params.param import Param

CAMERA_NODE = "camera_"  # of a named camera: followed by its name
SIDE_KIND, SIDE_NODE = "run_side", "_side"  # of a run on two machines: after the name of the side
#: node name -> its table
PARAMETERS: dict[str, tuple[Param, ...]] = {
    module.name: tuple(importlib.import_module(f"{__name__}.{module.name}").PARAMETERS)
    for module in pkgutil.iter_modules(__path__)
    if not module.name.startswith("_")
}


def kind_of(node: str) -> str:
    """The key of PARAMETERS for a node: named cameras have a node each, all of one kind, and so have the two sides."""
    if node.endswith(SIDE_NODE):
        return SIDE_KIND
    return "camera" if node.startswith(CAMERA_NODE) else node
