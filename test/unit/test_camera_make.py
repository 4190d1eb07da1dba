# SPDX-License-Identifier: Apache-2.0
"""From parameters to a source: what cannot be is refused by name; which source an address means."""

from __future__ import annotations

import pytest
from refusals import refused

from erl_vlm_ros.camera import make
from erl_vlm_ros.camera.opencv import OpenCvSource, VideoFile
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.params.param import namespace, resolve
from erl_vlm_ros.params.tables import PARAMETERS


def parameters(**values):
    overrides = {key.replace("__", "."): value for key, value in values.items()}
    return namespace("camera", resolve("camera", PARAMETERS["camera"], overrides))


@pytest.mark.parametrize(
    "address, kind, recording",
    [
        ("0", OpenCvSource, False),
        ("/dev/video2", OpenCvSource, False),
        ("rtsp://cam/live", OpenCvSource, False),
        ("http://cam/video.mjpg", OpenCvSource, False),
        ("films/video.mp4", VideoFile, True),
    ],
)
def test_an_address_tells_its_kind(address, kind, recording):
    source, is_recording = make.make_source(parameters(source="opencv", opencv__source=address))
    assert type(source) is kind and is_recording is recording


@pytest.mark.parametrize(
    "values, fields",
    [
        ({"opencv__source": ""}, {"parameter": "camera.opencv.source", "code": Code.NOT_GIVEN}),
        ({"opencv__fourcc": "MJPEG"}, {"parameter": "camera.opencv.fourcc"}),
        ({"depth": "raw"}, {"parameter": "camera.depth"}),
        ({"profile": "VGA"}, {"parameter": "camera.profile"}),
    ],
)
def test_what_cannot_be_is_refused_by_name(values, fields):
    with refused(ConfigError, **fields):
        make.make_source(parameters(**{"source": "opencv", **values}))


def test_a_missing_library_is_told_with_its_packages(monkeypatch):
    from erl_vlm_ros.camera import realsense_device

    def absent(name):
        raise ImportError("libusb-1.0.so.0: cannot open shared object file")

    monkeypatch.setattr(realsense_device.importlib, "import_module", absent)
    with refused(
        ConfigError,
        parameter="camera.source",
        code=Code.MISSING_PACKAGE,
        remedy="pip install pyrealsense2",
        shows="libusb-1.0-0",
    ):
        make.make_source(parameters())


def test_serial_numbers_are_text():
    with refused(ConfigError, parameter="camera.realsense.serial"):
        parameters(realsense__serial=123456)


def test_patience_and_frames():
    p = parameters(reopen_backoff_s=8.0, warmup_frames=7)
    assert make.patience(p, recording=False).backoff_max_s == 8.0
    assert make.patience(p, recording=False).warmup_frames == 7
    assert make.patience(p, recording=True).warmup_frames == 0
    assert make.frame_id("lens", 0) == "lens" and make.frame_id("lens", 270) == "lens_rotated_270"
