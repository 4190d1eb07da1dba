# SPDX-License-Identifier: Apache-2.0
"""camera: images of a RealSense, of anything OpenCV opens, or of another driver, on realsense2_camera's topics.

Publishes camera/camera/color/image_raw (+ compressed, camera_info) and, if asked for, depth. With source ``topic`` it
takes those topics from a driver and publishes cropped and resized images on camera/policy/... . An image's stamp
is when it was taken; one that is not new is never published. /diagnostics says how the camera does: STALE while no
images come.

Images are read and published on a thread of their own; the executor only serves diagnostics.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from erl_vlm_ros.camera.frame import Frame, Source
from erl_vlm_ros.camera.gate import Gate
from erl_vlm_ros.camera.health import Health
from erl_vlm_ros.camera.make import TOPIC, frame_id, make_source, patience, pipeline_config
from erl_vlm_ros.camera.pipeline import Pipeline
from erl_vlm_ros.camera.realsense import ALIGNED, OFF, RAW
from erl_vlm_ros.camera.supervisor import Supervisor
from erl_vlm_ros.camera.topic import Relay
from erl_vlm_ros.common import names
from erl_vlm_ros.common.dds import room_problem
from erl_vlm_ros.common.errors import wrong_parameter
from erl_vlm_ros.data.images import decode_jpeg, encode_jpeg
from erl_vlm_ros.ros import camera_messages, convert, qos
from erl_vlm_ros.ros.node_base import BaseNode, run

_COLOR = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
_POLICY = (names.POLICY_IMAGE, names.POLICY_IMAGE_COMPRESSED, names.POLICY_CAMERA_INFO)
_DEPTHS = {
    RAW: (names.DEPTH, names.DEPTH_INFO),
    ALIGNED: (names.ALIGNED_DEPTH, names.ALIGNED_DEPTH_INFO),
    TOPIC: (names.POLICY_DEPTH, names.POLICY_DEPTH_INFO),
}


class CameraNode(BaseNode):
    """ROS side of Supervisor or Relay, and Pipeline.

    Args:
        device: gives a RealSense device in place of looking for one (a software_device).
    """

    NAME = "camera"

    def __init__(self, device: Callable[[], Any] | None = None) -> None:
        room = room_problem()  # before this node takes its share
        super().__init__(self.NAME)
        if room:
            self.get_logger().warning(room)
        p = self.p
        self.pipeline = Pipeline(pipeline_config(p))
        self.health = Health(p.stall_s, time.monotonic)
        self._gate = Gate(p.max_age_s, p.frozen_s)
        self._frame_id = frame_id(p.camera_frame, p.rotate)
        self._hardware, self._said = p.source, ""
        self._depth_info = None
        self._make_publishers()
        self._stop, self._failure = threading.Event(), None
        self._thread = None
        if p.source == TOPIC:
            self._subscribe()
        else:
            self._capture(device)
        self.wall_timer(0.1, self._watch)
        self.wall_timer(1.0, self._diagnose)

    def _make_publishers(self) -> None:
        sensor, topic = qos.sensor(self.p.reliable_images), self.p.source == TOPIC
        for_color = zip((Image, CompressedImage, CameraInfo), _POLICY if topic else _COLOR)
        self._pub_image, self._pub_jpeg, self._pub_info = (self.create_publisher(*t, sensor) for t in for_color)
        self._pub_depth = None
        if self.p.depth != OFF:
            depth, info = _DEPTHS[TOPIC if topic else self.p.depth]
            self._pub_depth = self.create_publisher(Image, depth, sensor)
            self._pub_depth_info = self.create_publisher(CameraInfo, info, sensor)
        self._pub_diagnostics = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)

    # -- a camera of our own

    def _capture(self, device: Callable[[], Any] | None) -> None:
        if self.get_parameter("use_sim_time").value:
            raise wrong_parameter("camera", "use_sim_time", "is true, but a camera's stamps are wall time")
        source, recording = make_source(self.p, device)
        self._hardware = source.hardware
        supervisor = Supervisor(source, patience(self.p, recording), self._gate, self.health, self._on_opened)

        def work() -> None:
            try:
                supervisor.run(self._publish, self._stop)
            except BaseException as error:
                self._failure = error

        self._thread = threading.Thread(target=work, name="capture", daemon=True)
        self._thread.start()

    def _on_opened(self, source: Source) -> None:
        self.pipeline.fit(source.size, source.intrinsics, source.hardware)
        self._depth_info = source.depth_intrinsics
        self._hardware = source.hardware
        width, height = self.pipeline.intrinsics.width, self.pipeline.intrinsics.height
        self.get_logger().info(
            f"{source.hardware}: {source.size[0]}x{source.size[1]} at {source.fps:g} Hz, published as {width}x{height}"
        )

    def _publish(self, frame: Frame) -> None:
        """Publish one image, and what belongs to it, with one stamp. Only what has a subscriber is made."""
        stamp, frame_id = frame.stamp_ns, self._frame_id
        if self._pub_image.get_subscription_count() or self._pub_jpeg.get_subscription_count():
            rgb = self.pipeline.apply(frame.rgb)
            if self._pub_image.get_subscription_count():
                self._pub_image.publish(convert.image_message(rgb, stamp, frame_id))
            if self._pub_jpeg.get_subscription_count():
                jpeg = encode_jpeg(rgb, self.p.jpeg_quality)
                self._pub_jpeg.publish(convert.compressed_message(jpeg, stamp, frame_id))
        self._pub_info.publish(camera_messages.info_message(self.pipeline.intrinsics, stamp, frame_id))
        if frame.depth is not None:
            self._publish_depth(frame, self.p.depth == ALIGNED)

    def _publish_depth(self, frame: Frame, aligned: bool) -> None:
        frame_id = self._frame_id if aligned else self.p.depth_frame
        info = self.pipeline.intrinsics if aligned else self._depth_info
        if self._pub_depth.get_subscription_count():
            depth = self.pipeline.apply_depth(frame.depth) if aligned else frame.depth
            self._pub_depth.publish(camera_messages.depth_message(depth, frame.stamp_ns, frame_id))
        self._pub_depth_info.publish(camera_messages.info_message(info, frame.stamp_ns, frame_id))

    # -- another driver's topics

    def _subscribe(self) -> None:
        p, sensor = self.p, qos.sensor(self.p.reliable_sensors)
        if p.depth == RAW:
            raise wrong_parameter("camera", "depth", "is 'raw'; source 'topic' takes 'off' or 'aligned'")
        needs_info = p.require_calibration and not p.calibration_file
        self._relay = Relay(self.pipeline, self._gate, self.health, needs_info, names.IMAGE)
        kind, topic = (CompressedImage, names.IMAGE_COMPRESSED) if p.topic_compressed else (Image, names.IMAGE)
        self.create_subscription(kind, topic, self._on_image, sensor)
        self.create_subscription(CameraInfo, names.CAMERA_INFO, self._on_info, sensor)
        if p.depth == ALIGNED:
            self.create_subscription(Image, names.ALIGNED_DEPTH, self._on_depth, sensor)
        self._hardware = topic
        self.health.opened(float(pipeline_config(p).profile.fps))

    def _on_image(self, message: Image | CompressedImage) -> None:
        try:
            rgb = decode_jpeg(bytes(message.data)) if self.p.topic_compressed else convert.image_to_rgb(message)
        except ValueError as error:
            self.health.refused("unreadable")
            self.get_logger().warning(f"image ignored: {error}", throttle_duration_sec=5.0)
            return
        frame = Frame(rgb, convert.header_ns(message))
        now_ns = self.get_clock().now().nanoseconds
        if self._relay.take(frame, now_ns):
            self._publish(frame)
            self.health.passed((self.get_clock().now().nanoseconds - frame.stamp_ns) * 1e-9, 0)

    def _on_info(self, message: CameraInfo) -> None:
        self._relay.info(camera_messages.intrinsics_of(message))

    def _on_depth(self, message: Image) -> None:
        try:
            frame = Frame(None, convert.header_ns(message), depth=camera_messages.depth_of(message))
            if self._relay.takes_depth(frame, self.get_clock().now().nanoseconds):
                self._publish_depth(frame, aligned=True)
        except ValueError as error:
            self.get_logger().warning(f"depth ignored: {error}", throttle_duration_sec=5.0)

    # -- how it does

    def _watch(self) -> None:
        """End with the capture thread; tell at once when the state has changed."""
        if self._failure is not None:
            raise self._failure
        level, text = self.health.verdict()
        if level != self._said:
            before, self._said = self._said, level
            if level == "stale" and before:
                self.get_logger().warning(f"{level}: {text}")
            else:
                self.get_logger().info(f"{level}: {text}")
            self._diagnose()

    def _diagnose(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        said = self.health.verdict(), self.health.values()
        self._pub_diagnostics.publish(camera_messages.state_message(self.get_name(), self._hardware, *said, stamp))

    def on_stop(self) -> None:
        """Let the camera go before the process ends: librealsense's threads must not outlive it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=max(2.0, 2 * self.p.stall_s))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(CameraNode, args)


if __name__ == "__main__":
    sys.exit(main())
