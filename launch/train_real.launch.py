# SPDX-License-Identifier: Apache-2.0
"""Train on a real arm: ros2 launch erl_vlm_ros train_real.launch.py task:=TASK camera:=realsense adapter:=servo_twist.

Nothing moves before a person arms the guard. With use_sim_arm:=true auto_arm:=true the simulated arm stands in.
"""

from erl_vlm_ros.runs.launch_actions import training


def generate_launch_description():
    """Called by launch."""
    return training("train_real")
