# SPDX-License-Identifier: Apache-2.0
"""config/fastdds.xml carries large images, best effort, where the default settings lose nearly all."""

import subprocess
import sys

from sensor_msgs.msg import Image

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import qos

RATE, COUNT = 30, 60
SENDER = f"""
import rclpy, numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
rclpy.init()
node = Node("sender")
out = node.create_publisher(Image, names.IMAGE, qos.sensor(False))
rgb = np.zeros((480, 640, 3), np.uint8)
left = {COUNT}
def send():
    global left
    if out.get_subscription_count() and left:
        left -= 1
        out.publish(convert.image_message(rgb, {COUNT} - left, "camera"))
node.create_timer(1 / {RATE}, send)
rclpy.spin(node)
"""


def test_best_effort_vga_images_arrive(ros):
    images = ros.collect(Image, names.IMAGE, qos.sensor(False))
    sender = subprocess.Popen([sys.executable, "-c", SENDER], env=ros.environment())
    try:
        ros.until(lambda: images and images[-1].header.stamp.nanosec >= COUNT - 1, "the last image", 30.0)
    finally:
        sender.kill()
        sender.wait()
    assert len(images) >= 0.9 * COUNT


def test_a_node_takes_the_profile_however_it_was_started(ros, monkeypatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)  # as with `ros2 run`
    process = ros.start("camera", source="topic")
    ros.until(lambda: "camera" in ros.node.get_node_names(), "the node")

    def segments():
        with open(f"/proc/{process.pid}/maps") as file:
            rows = [line.split() for line in file if "/dev/shm/fastdds_" in line]
        spans = [[int(address, 16) for address in row[0].split("-")] for row in rows]
        return [end - begin for begin, end in spans]

    ros.until(lambda: max(segments(), default=0) >= 16 * 2**20, "a large segment of shared memory")
