# SPDX-License-Identifier: Apache-2.0
"""Learn from recordings: ros2 launch erl_vlm_ros train_offline.launch.py dataset:=DIR algorithm:=iql."""

from erl_vlm_ros.runs.launch_actions import training


def generate_launch_description():
    """Called by launch."""
    return training("train_offline")
