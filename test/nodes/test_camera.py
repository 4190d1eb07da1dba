# SPDX-License-Identifier: Apache-2.0
"""The camera node over real DDS: librealsense's software device, a video file, another driver's topics."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from erl_vlm_ros.camera.intrinsics import Intrinsics
from erl_vlm_ros.common import names
from erl_vlm_ros.data.images import decode_jpeg, encode_jpeg
from erl_vlm_ros.ros import camera_messages, convert, qos

W, H = 64, 48
SENSOR = qos.sensor(True)
FEEDER = f"""
import sys, threading, time
from pathlib import Path
import numpy as np
from erl_vlm_ros.camera.frame import SourceError
from erl_vlm_ros.camera.software import SoftwareCamera
from erl_vlm_ros.nodes.camera import CameraNode
from erl_vlm_ros.ros.node_base import run

camera = SoftwareCamera({W}, {H}, depth_m=0.001)

def lens():
    while True:
        time.sleep(1 / 30)
        if not Path("unplugged").exists():
            rgb = np.full(({H}, {W}, 3), camera.number % 250, np.uint8)
            camera.feed(rgb, np.full(({H}, {W}), 500, np.uint16))

def plugged_in():
    if Path("unplugged").exists():
        raise SourceError("no RealSense is connected")
    return camera.device

threading.Thread(target=lens, daemon=True).start()
sys.exit(run(lambda: CameraNode(plugged_in)))
"""


def parameters(**values):
    pairs = [f"{k}:={yaml.safe_dump(v).split()[0]}" for k, v in values.items()]
    return [word for pair in pairs for word in ("-p", pair)]


def states(messages):
    """(level, text, figures) of the camera in each DiagnosticArray."""
    found = [s for m in messages for s in m.status if s.name == "camera"]
    return [(s.level, s.message, {v.key: float(v.value) for v in s.values}) for s in found]


def stamps(messages):
    return [convert.header_ns(m) for m in messages]


def test_a_realsense_is_published_as_its_driver_does_and_comes_back(ros):
    pytest.importorskip("pyrealsense2", reason="needs pyrealsense2 and libusb-1.0-0", exc_type=ImportError)
    images, infos = ros.collect(Image, names.IMAGE, SENSOR), ros.collect(CameraInfo, names.CAMERA_INFO, SENSOR)
    jpegs = ros.collect(CompressedImage, names.IMAGE_COMPRESSED, SENSOR)
    depths = ros.collect(Image, names.ALIGNED_DEPTH, SENSOR)
    depth_infos = ros.collect(CameraInfo, names.ALIGNED_DEPTH_INFO, SENSOR)
    reports = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    command = [sys.executable, "-c", FEEDER, "--ros-args", "-p", "crop:=[8, 0, 48, 48]"]
    command += parameters(
        profile=f"{W}x{H}x30", depth="aligned", width=24, height=24, stall_s=0.5, reopen_backoff_s=0.2, warmup_frames=2
    )
    with (ros.folder / "camera.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ros.folder, env=ros.environment(), stdout=log, stderr=log)
    ros.processes["camera"] = process
    ros.until(lambda: min(map(len, (images, infos, jpegs, depths, depth_infos))) >= 20, "images")

    image, now = images[-1], time.time_ns()
    assert (image.encoding, image.width, image.height, image.step) == ("rgb8", 24, 24, 72)
    assert {m[-1].header.frame_id for m in (images, infos, jpegs, depths)} == {"camera_color_optical_frame"}
    assert depths[-1].encoding == "16UC1" and np.median(camera_messages.depth_of(depths[-1])) == 500
    assert decode_jpeg(bytes(jpegs[-1].data)).shape == (24, 24, 3)
    for others in (infos, jpegs, depths, depth_infos):
        assert len(set(stamps(others)) & set(stamps(images))) >= 15  # what belongs together has one stamp
    assert stamps(images) == sorted(set(stamps(images))) and 0 < now - convert.header_ns(image) < 10e9
    k = infos[-1].k
    assert (infos[-1].width, infos[-1].height, infos[-1].distortion_model) == (24, 24, "plumb_bob")
    assert [k[0], k[2]] == pytest.approx([0.95 * W / 2, (0.51 * W - 8 + 0.5) / 2 - 0.5])
    ros.until(lambda: states(reports) and states(reports)[-1][0] != DiagnosticStatus.STALE, "a report")
    assert states(reports)[-1][2]["frame_rate"] > 10 and reports[-1].header.stamp.sec > 0

    (ros.folder / "unplugged").touch()
    silent = time.time_ns() + 200_000_000  # an image may be under way
    ros.until(lambda: states(reports)[-1][0] == DiagnosticStatus.STALE, "STALE", patience=10.0)
    ros.until(lambda: "no RealSense is connected" in states(reports)[-1][1], "the reason")
    again = time.time_ns()
    (ros.folder / "unplugged").unlink()
    ros.until(lambda: sum(s > again for s in stamps(images)) >= 5, "images again")
    ros.until(lambda: states(reports)[-1][0] != DiagnosticStatus.STALE, "the news of it")
    assert states(reports)[-1][2]["reopened"] >= 1
    assert stamps(images) == sorted(set(stamps(images))) and not any(silent < s < again for s in stamps(images))
    assert ros.stop("camera") == 0, ros.log("camera")


def write_video(path, count=60):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (W, H))
    for i in range(count):
        writer.write(np.full((H, W, 3), 4 * i, np.uint8))
    writer.release()


def write_calibration(path, width=W, height=H):
    lens = Intrinsics(width, height, 60.0, 61.0, 30.0, 22.0)
    content = {"image_width": width, "image_height": height, "camera_matrix": {"data": lens.matrix}}
    content["distortion_coefficients"] = {"data": list(lens.coefficients)}
    path.write_text(yaml.safe_dump(content))


def test_a_video_file_with_a_calibration(ros):
    write_video(ros.folder / "video.avi")
    write_calibration(ros.folder / "lens.yaml")
    images = ros.collect(Image, names.IMAGE, qos.sensor(False))
    infos = ros.collect(CameraInfo, names.CAMERA_INFO, qos.sensor(False))
    reports = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    ros.start(
        "camera", source="opencv", opencv__source="video.avi", profile=f"{W}x{H}", calibration_file="lens.yaml",
        require_calibration=True, rotate=90, reliable_images=False, loop=True,
    )  # fmt: skip
    ros.until(lambda: len(images) >= 90 and infos, "images of more than one round")
    assert (images[-1].width, images[-1].height) == (H, W)
    assert images[-1].header.frame_id == "camera_color_optical_frame_rotated_90"
    assert list(infos[-1].k) == [61.0, 0, H - 1 - 22.0, 0, 60.0, 30.0, 0, 0, 1]
    assert stamps(images) == sorted(set(stamps(images)))
    assert ros.stop("camera") == 0
    ros.start("camera", source="opencv", opencv__source="video.avi", profile="", warmup_frames=50)
    ros.until(lambda: any("recording is over" in text for _, text, _ in states(reports)), "the end")
    assert ros.stop("camera", signal.SIGTERM) == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_another_drivers_images_are_cropped_and_resized_once(ros, compressed):
    images = ros.collect(Image, names.POLICY_IMAGE, SENSOR)
    infos = ros.collect(CameraInfo, names.POLICY_CAMERA_INFO, SENSOR)
    depths = ros.collect(Image, names.POLICY_DEPTH, SENSOR)
    reports = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    ros.start(
        "camera", source="topic", topic__compressed=compressed, profile="", square=True, width=24, height=24,
        require_calibration=True, depth="aligned", stall_s=0.5,
    )  # fmt: skip
    if compressed:
        driver = ros.publisher(CompressedImage, names.IMAGE_COMPRESSED, SENSOR)
    else:
        driver = ros.publisher(Image, names.IMAGE, SENSOR)
    info = ros.publisher(CameraInfo, names.CAMERA_INFO, SENSOR)
    depth = ros.publisher(Image, names.ALIGNED_DEPTH, SENSOR)
    red = np.zeros((H, W, 3), np.uint8)
    red[:, :, 0] = 200

    def send(stamp):
        make = (
            (lambda: convert.compressed_message(encode_jpeg(red), stamp, "lens"))
            if compressed
            else (lambda: convert.image_message(red, stamp, "lens"))
        )
        driver.publish(make())

    begin = time.monotonic()
    while not any(v.get("refused_without_camera_info") for *_, v in states(reports)) and time.monotonic() - begin < 30:
        send(time.time_ns())  # before the intrinsics are known, which are required
        ros.serve(0.1)
    assert not images and any(v.get("refused_without_camera_info") for *_, v in states(reports))
    lens = Intrinsics(W, H, 60.0, 61.0, 30.0, 22.0)
    first = time.time_ns()
    begin = time.monotonic()
    while not images and time.monotonic() - begin < 30:  # until the intrinsics have arrived
        info.publish(camera_messages.info_message(lens, first, "lens"))
        first = time.time_ns()
        send(first)
        ros.serve(0.05)
    ros.until(lambda: images and infos, "an image")
    begin = time.monotonic()
    while not any(v.get("refused_out_of_order") for *_, v in states(reports)) and time.monotonic() - begin < 30:
        send(first)  # the same once more, then an older one
        send(first - 10_000_000)
        ros.serve(0.1)
    assert any(v.get("refused_out_of_order") for *_, v in states(reports))
    begin = time.monotonic()
    while not depths and time.monotonic() - begin < 30:
        now = time.time_ns()
        depth.publish(camera_messages.depth_message(np.full((H, W), 700, np.uint16), now, "lens"))
        send(now)
        ros.serve(0.1)
    ros.until(lambda: depths and stamps(images)[-1] == now, "the next image")
    assert stamps(images) == sorted(set(stamps(images)))
    assert (images[-1].width, images[-1].height, images[-1].encoding) == (24, 24, "rgb8")
    assert convert.image_to_rgb(images[-1])[5, 5].tolist() == pytest.approx([200, 0, 0], abs=6)
    assert [infos[-1].k[0], infos[-1].k[2]] == pytest.approx([30.0, (30.0 - 8 + 0.5) / 2 - 0.5])
    assert np.unique(camera_messages.depth_of(depths[-1])).tolist() == [700]
    ros.until(lambda: states(reports)[-1][0] == DiagnosticStatus.STALE, "STALE in silence")
    assert ros.stop("camera") == 0


def test_bad_input_is_refused_at_start_by_name(ros):
    write_video(ros.folder / "video.avi", 5)
    write_calibration(ros.folder / "large.yaml", 2 * W, 2 * H)
    video = {"source": "opencv", "opencv.source": "video.avi", "profile": f"{W}x{H}"}
    cases = {
        "source": {"source": "gopro"},
        "profile": {**video, "profile": "640x480x30"},
        "calibration_file": {**video, "calibration_file": "large.yaml"},
        "require_calibration": {**video, "require_calibration": True},
        "crop": {**video, "crop": [60, 0, 10, 10]},
        "depth": {**video, "depth": "aligned"},
    }
    running = {}
    for name, values in cases.items():
        words = [w for k, v in values.items() for w in ("-p", f"{k}:={v if v is not True else 'true'}")]
        command = [sys.executable, "-m", "erl_vlm_ros.nodes.camera", "--ros-args", *words]
        with (ros.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(command, cwd=ros.folder, env=ros.environment(), stdout=log, stderr=log)
        running[name] = ros.processes[name] = process
    for name, process in running.items():
        ros.until(lambda process=process: process.poll() is not None, f"a refusal of {name}")
        said = ros.log(name)
        assert process.returncode == 2 and name in said, (name, process.returncode, said)
        assert "Traceback" not in said
