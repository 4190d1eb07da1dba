# SPDX-License-Identifier: Apache-2.0
"""The simulated cameras' topics: one camera without a name, or each named one on topics of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from erl_vlm_ros.common import names
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.backend import SimBackend, named_cameras

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

_UNNAMED = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
_NAMED = (names.NAMED_IMAGE, names.NAMED_IMAGE_COMPRESSED, names.NAMED_CAMERA_INFO)


@dataclass(frozen=True)
class _Camera:
    image: Any
    jpeg: Any
    info: Any
    matrix: np.ndarray
    frame: str


class SimImages:
    """Renders all cameras at one instant; ``publish`` sends what was rendered last under one stamp."""

    def __init__(self, node: BaseNode, arm: SimBackend) -> None:
        self._arm, self._quality = arm, node.p.jpeg_quality
        image_qos = qos.sensor(node.p.reliable_images)  # as the camera node: the policy meets the same offer

        def make(topics: tuple[str, ...], matrix: np.ndarray, frame: str) -> _Camera:
            kinds = zip((Image, CompressedImage, CameraInfo), topics)
            return _Camera(*(node.create_publisher(kind, topic, image_qos) for kind, topic in kinds), matrix, frame)

        self._named = named_cameras(arm)
        self._cameras = {
            camera.name: make(
                tuple(topic.format(camera.name) for topic in _NAMED), arm.matrix_of(camera),
                f"{camera.name}_color_optical_frame",
            )
            for camera in self._named
        } or {"": make(_UNNAMED, arm.camera_matrix(), node.p.camera_frame)}  # fmt: skip
        self._images: dict[str, np.ndarray] = {}
        self.render()

    def render(self) -> None:
        """Look at the world as it is now."""
        self._images = self._arm.render_all() if self._named else {"": self._arm.render()}

    def publish(self, stamp: int) -> None:
        """``stamp``: ns. Information and JPEG are made for a reader alone."""
        for name, camera in self._cameras.items():
            image = self._images[name]
            camera.image.publish(convert.image_message(image, stamp, camera.frame))
            if camera.info.get_subscription_count():
                height, width = image.shape[:2]
                camera.info.publish(convert.camera_info_message(camera.matrix, width, height, stamp, camera.frame))
            if camera.jpeg.get_subscription_count():
                jpeg = encode_jpeg(image, self._quality)
                camera.jpeg.publish(convert.compressed_message(jpeg, stamp, camera.frame))
