# SPDX-License-Identifier: Apache-2.0
"""A second monitor that writes nothing: dashboard image, markers, diagnostics on another machine."""

from erl_vlm_ros.runs.launch_actions import watching


def generate_launch_description():
    """Called by launch."""
    return watching()
