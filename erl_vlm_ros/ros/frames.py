# SPDX-License-Identifier: Apache-2.0
"""The simulated arm's frames on /tf, for those who run no robot_state_publisher."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TransformStamped

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert
from erl_vlm_ros.ros.adapters.packages import message
from erl_vlm_ros.sim.backend import SimBackend


class FramePublisher:
    """Publishes every frame of the arm's URDF as a child of the base frame."""

    def __init__(self, node: Any, base_frame: str) -> None:
        """ConfigError when tf2_msgs is not installed."""
        self._kind = message("tf2_msgs.msg", "TFMessage", "publish_tf", True)
        self._publisher = node.create_publisher(self._kind, names.TF, 100)
        self._base_frame = base_frame

    def publish(self, arm: SimBackend, stamp_ns: int) -> None:
        """All frames of an arm with one stamp."""
        self._publisher.publish(self._kind(transforms=transforms(arm, self._base_frame, stamp_ns)))


def transforms(arm: SimBackend, base_frame: str, stamp_ns: int) -> list[TransformStamped]:
    """One message a frame."""
    out = []
    for name, (position, quaternion) in arm.link_poses().items():
        transform = TransformStamped(child_frame_id=name)
        transform.header.frame_id = base_frame
        convert.set_stamp(transform.header.stamp, stamp_ns)
        at, turn = transform.transform.translation, transform.transform.rotation
        at.x, at.y, at.z = map(float, position)
        turn.x, turn.y, turn.z, turn.w = map(float, quaternion)
        out.append(transform)
    return out
