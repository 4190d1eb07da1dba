# SPDX-License-Identifier: Apache-2.0
"""A second monitor that writes nothing, to watch a run from another machine: dashboard image, markers, diagnostics."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    """Called by launch."""
    return LaunchDescription([
        DeclareLaunchArgument("task", default_value="drawer_open", description="A shipped task or the path of a task YAML."),
        Node(
            package="erl_vlm_ros",
            executable="monitor",
            name="monitor_view",
            parameters=[{"task": LaunchConfiguration("task")}],
            remappings=[("monitor/image", "monitor_view/image")],
            output="screen",
        ),
    ])  # fmt: skip
