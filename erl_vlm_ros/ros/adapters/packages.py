# SPDX-License-Identifier: Apache-2.0
"""Message packages that only some choices need: imported when they are chosen."""

from __future__ import annotations

import importlib
import os
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError


def message(module: str, name: str, parameter: str, value: Any) -> Any:
    """The message, service or action ``name`` of ``module``, for instance ``control_msgs.action``.

    Raises:
        ConfigError: naming the parameter that asks for it and the apt package that holds it.
    """
    package = module.partition(".")[0]
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        distro = os.environ.get("ROS_DISTRO") or "$ROS_DISTRO"
        apt = f"ros-{distro}-{package.replace('_', '-')}"
        raise ConfigError(
            f"parameter '{parameter}' is '{value}', which needs {module}.{name}: "
            f"install it (sudo apt install {apt}) and source the ROS installation",
            code=Code.MISSING_PACKAGE,
            parameter=f"safety_guard.{parameter}",
            remedy=f"sudo apt install {apt}",
        ) from error
