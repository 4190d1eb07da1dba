# SPDX-License-Identifier: Apache-2.0
"""Gather demonstrations: ros2 launch erl_vlm_ros collect.launch.py driver:=joy camera:=realsense robot:=ur5e.

driver:=scripted is the expert of the simulated tasks. On a real arm nothing moves before a person arms the guard.
"""

from erl_vlm_ros.runs.launch_actions import training


def generate_launch_description():
    """Called by launch."""
    return training("collect")
