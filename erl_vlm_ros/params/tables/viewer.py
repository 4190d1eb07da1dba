# SPDX-License-Identifier: Apache-2.0
"""Parameters of viewer."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param

PARAMETERS = (
    Param("title", "erl_vlm_ros", "Title of the window."),
    Param("scale", 1.0, "Size of the window against the image.", low=0.2, high=4.0),
)  # fmt: skip
