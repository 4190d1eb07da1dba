# SPDX-License-Identifier: Apache-2.0
"""Train in simulation: ros2 launch erl_vlm_ros train_sim.launch.py task:=drawer_open seed:=0."""

from erl_vlm_ros.runs.launch_actions import training


def generate_launch_description():
    """Called by launch."""
    return training("train_sim")
