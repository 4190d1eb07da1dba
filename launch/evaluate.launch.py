# SPDX-License-Identifier: Apache-2.0
"""Evaluate the policy of a run: ros2 launch erl_vlm_ros evaluate.launch.py run:=DIR episodes:=20."""

from erl_vlm_ros.runs.launch_actions import evaluation


def generate_launch_description():
    """Called by launch."""
    return evaluation()
