# SPDX-License-Identifier: Apache-2.0
"""Parameters of camera."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param

PARAMETERS = (
    Param(
        "source",
        "realsense",
        "realsense: pyrealsense2; opencv: device, network stream or video file; topic: another driver's topics.",
        choices=("realsense", "opencv", "topic"),
    ),
    Param(
        "profile",
        "640x480x30",
        "WIDTHxHEIGHTxRATE of the colour image; any other size is refused. Empty: whatever the source gives.",
    ),
    Param(
        "depth",
        "off",
        "Depth too: raw as the sensor sees it, or aligned to the colour image (realsense; topic: aligned only).",
        choices=("off", "raw", "aligned"),
    ),
    Param("realsense.serial", "", "Serial number, in quotes; empty: the only camera connected."),
    Param("realsense.file", "", "Play this recording (.bag, .db3) in place of a camera."),
    Param("realsense.depth_profile", "", "WIDTHxHEIGHTxRATE of depth; empty: as profile."),
    Param(
        "realsense.exposure",
        None,
        "Exposure in librealsense's unit; not set: automatic.",
        0.0,
        1e6,
        unset="float",
    ),
    Param("realsense.gain", None, "Colour gain; not set: automatic.", 0.0, 1e4, unset="float"),
    Param("realsense.white_balance", None, "Colour temperature, K; not set: automatic.", 0.0, 1e5, unset="float"),
    Param("opencv.source", "0", "Device number, /dev/video path, rtsp:// or http:// URL, or a video file."),
    Param("opencv.fourcc", "", "Pixel format a device is asked for, for instance MJPG; empty: its own choice."),
    Param("opencv.exposure", None, "Exposure in the driver's unit; not set: left as it is.", 0.0, 1e6, unset="float"),
    Param(
        "opencv.latency_s",
        0.0,
        "Known delay between light and arrival, taken off the stamps, s.",
        low=0.0,
        high=2.0,
    ),
    Param("topic.compressed", False, "Subscribe to image_raw/compressed, for a camera on another machine."),
    Param("warmup_frames", 30, "Frames thrown away after each opening: the first are dark.", low=0, high=1000),
    Param("loop", False, "Begin a recording anew at its end."),
    Param(
        "calibration_file",
        "",
        "YAML of ROS's camera_calibration; empty: what the camera knows about itself.",
    ),
    Param("require_calibration", False, "Refuse to start without intrinsics."),
    Param(
        "crop",
        [0, 0, 0, 0],
        "Part of the camera's image to use: x, y, width, height in px; zeros: all.",
        low=0,
        high=10000,
    ),
    Param("square", False, "Use the largest centred square of the image (after crop)."),
    Param("rotate", 0, "Turn the image clockwise by so many degrees.", choices=(0, 90, 180, 270)),
    Param("width", 0, "Resize to this width in px; 0: as it is.", low=0, high=4096),
    Param("height", 0, "Resize to this height in px; 0: as it is.", low=0, high=4096),
    Param(
        "camera_frame",
        "camera_color_optical_frame",
        "Optical frame of the colour image; _rotated_DEGREES is appended when it is turned.",
    ),
    Param("depth_frame", "camera_depth_optical_frame", "Optical frame of raw depth."),
    Param(
        "reliable_images",
        True,
        "Publish reliably, as realsense2_camera does: rviz asks for it, and a best-effort reader connects, too.",
    ),
    Param("reliable_sensors", False, "source topic: ask the driver for reliable images; false accepts both kinds."),
    Param(
        "jpeg_quality",
        90,
        "Quality of image_raw/compressed, encoded only while there is a subscriber.",
        low=1,
        high=100,
    ),
    Param("stall_s", 1.0, "Without a new frame for this long: STALE, and open again, s.", low=0.1, high=30.0),
    Param("max_age_s", 1.0, "Frames taken longer ago are not published, s.", low=0.02, high=30.0),
    Param(
        "frozen_s",
        0.0,
        "An image that stays the same to the last bit this long counts as no image, s; 0: not looked at.",
        low=0.0,
        high=60.0,
    ),
    Param("start_timeout_s", 20.0, "How long the camera may be absent at start, s.", low=0.0, high=600.0),
    Param("reopen_backoff_s", 0.5, "First pause before opening again; it doubles, s.", low=0.01, high=60.0),
    Param("reopen_backoff_max_s", 5.0, "Longest pause before opening again, s.", low=0.01, high=600.0),
    Param("reopen_attempts", 60, "So many failures in a row end the node.", low=0, high=100000),
)
