# SPDX-License-Identifier: Apache-2.0
"""What the guard listens to beside commands and the arm's state, where a time limit asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import CameraInfo, Joy
from std_msgs.msg import Bool

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import qos
from erl_vlm_ros.safety.config import CAMERA, DEADMAN, HEARTBEAT, WRENCH

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from erl_vlm_ros.ros.guarded_node import GuardedNode
    from erl_vlm_ros.safety.input_monitor import InputMonitor


class GuardSources:
    """Cameras, heartbeat, dead-man button and wrench, as far as they are among ``heard``."""

    def __init__(
        self,
        node: GuardedNode,
        inputs: InputMonitor,
        heard: Collection[str],
        cameras: Sequence[str],
        announce: Callable[[], None],
    ) -> None:
        """``cameras``: names of several, empty for the one without. ``announce()``: the state may have changed."""
        self._inputs, self._announce = inputs, announce
        topics = [names.NAMED_CAMERA_INFO.format(name) for name in cameras] or [names.CAMERA_INFO]
        self._cameras: dict[str, float | None] = dict.fromkeys(topics if CAMERA in heard else ())
        for topic in self._cameras:
            node.create_subscription(CameraInfo, topic, lambda _, topic=topic: self._on_camera(topic), qos.sensor())
        for source, kind, topic, callback in (
            (HEARTBEAT, Bool, names.HEARTBEAT, self._on_heartbeat),
            (DEADMAN, Joy, names.JOY, self._on_joy),
            (WRENCH, WrenchStamped, names.WRENCH, self._on_wrench),
        ):
            if source in heard:
                node.create_subscription(kind, topic, callback, qos.sensor())

    def _on_camera(self, topic: str) -> None:
        """Of several cameras the one that has been silent longest counts."""
        self._cameras[topic] = time.monotonic()
        heard = list(self._cameras.values())
        if None not in heard:
            self._inputs.update_camera(min(heard))

    def _on_joy(self, message: Joy) -> None:
        self._inputs.update_joy(message.buttons, time.monotonic())

    def _on_heartbeat(self, message: Bool) -> None:
        self._inputs.update_heartbeat(message.data, time.monotonic())
        self._announce()

    def _on_wrench(self, message: WrenchStamped) -> None:
        f, t = message.wrench.force, message.wrench.torque
        self._inputs.update_wrench((f.x, f.y, f.z), (t.x, t.y, t.z), time.monotonic())
        self._announce()
