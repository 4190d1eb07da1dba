# SPDX-License-Identifier: Apache-2.0
"""A second monitor that writes nothing: dashboard image, markers, diagnostics on another machine."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    """Called by launch."""
    return LaunchDescription([
        DeclareLaunchArgument("task", default_value="drawer_open", description="Name or YAML path."),
        Node(
            package="erl_vlm_ros",
            executable="monitor",
            name="monitor_view",
            parameters=[{"task": LaunchConfiguration("task")}],
            remappings=[("monitor/image", "monitor_view/image")],
            output="screen",
        ),
    ])  # fmt: skip
