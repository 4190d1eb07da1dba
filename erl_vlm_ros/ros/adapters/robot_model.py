# SPDX-License-Identifier: Apache-2.0
"""The arm's URDF from the parameter ``urdf_file``, else from the latched topic robot_description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.wait_for_message import wait_for_message
from std_msgs.msg import String

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.ros import qos


def wait_for_kinematics(node: Any, p: Any, who: str) -> Kinematics:
    """Of the file, or of the topic; waits for the topic at most ``p.urdf_wait_s``. The node need not spin.

    ``who`` needs it, for the message.

    Raises:
        ConfigError: no URDF came, or it does not fit ``p.base_frame`` and ``p.tool_frame``.
    """
    if p.urdf_file:
        return Kinematics.from_file(p.urdf_file, p.base_frame, p.tool_frame)
    topic = node.resolve_topic_name(names.ROBOT_DESCRIPTION)
    node.get_logger().info(f"waiting for the URDF on {topic}")
    found, text = wait_for_message(
        String, node, names.ROBOT_DESCRIPTION, qos_profile=qos.latched(), time_to_wait=p.urdf_wait_s
    )
    if not found:
        problem = (
            f"{who} needs the arm's URDF: parameter 'urdf_file' is empty and nothing came on {topic} "
            f"within {p.urdf_wait_s:g} s (parameter 'urdf_wait_s')"
        )
        raise ConfigError(problem, code=Code.NOT_GIVEN, parameter="urdf_file")
    return Kinematics.from_text(text.data, p.base_frame, p.tool_frame, topic)


def watch_for_kinematics(node: Any, p: Any, done: Callable[[Kinematics], None]) -> None:
    """Call ``done`` with the file's kinematics at once, or with the topic's each time a URDF comes that fits.

    Raises:
        ConfigError: the file does not fit. A text from the topic that does not fit is only warned about.
    """
    if p.urdf_file:
        done(Kinematics.from_file(p.urdf_file, p.base_frame, p.tool_frame))
        return

    def came(text: String) -> None:
        try:
            arm = Kinematics.from_text(text.data, p.base_frame, p.tool_frame)
        except ConfigError as error:
            node.get_logger().warning(f"robot_description is not used: {error}")
            return
        done(arm)

    node.create_subscription(String, names.ROBOT_DESCRIPTION, came, qos.latched())
