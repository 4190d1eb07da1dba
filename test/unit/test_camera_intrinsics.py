# SPDX-License-Identifier: Apache-2.0
"""Cropping, turning and resizing keep image and intrinsics together; calibration files are read strictly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from refusals import refused

from erl_vlm_ros.camera.frame import Profile
from erl_vlm_ros.camera.intrinsics import Intrinsics, load_calibration
from erl_vlm_ros.camera.pipeline import Pipeline, PipelineConfig
from erl_vlm_ros.camera.transform import ImageTransform, ImageTransformConfig
from erl_vlm_ros.common.errors import Code, ConfigError, DataError

PLUMB = Intrinsics(640, 480, 600.0, 590.0, 330.0, 236.0, "plumb_bob", (0.1, -0.05, 0.004, -0.006, 0.01))
FISHEYE = Intrinsics(640, 480, 300.0, 305.0, 322.0, 241.0, "equidistant", (0.02, -0.01, 0.003, 0.001))
CHANGES = [
    ImageTransformConfig(),
    ImageTransformConfig(crop=(100, 40, 400, 380)),
    ImageTransformConfig(rotate=90),
    ImageTransformConfig(rotate=180),
    ImageTransformConfig(rotate=270),
    ImageTransformConfig(square=True, width=240, height=240),
    ImageTransformConfig(crop=(101, 43, 399, 377), rotate=270, width=190, height=200),
]


def turned_points(points, degrees):
    """The same points seen from the camera's turned frame: x right, y down, image turned clockwise."""
    for _ in range(degrees // 90):
        points = points[:, [1, 0, 2]] * [-1, 1, 1]
    return points


def project(lens, points):
    matrix = np.array(lens.matrix).reshape(3, 3)
    d = np.array(lens.coefficients)
    zero = np.zeros(3)
    if lens.model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero[None, None], zero[None, None], matrix, d)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, matrix, d)[0][:, 0]


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("lens", [PLUMB, FISHEYE], ids=["plumb_bob", "equidistant"])
def test_a_point_is_where_the_new_intrinsics_say(lens, change):
    transform = ImageTransform(change, 640, 480)
    after = transform.intrinsics(lens)
    assert (after.width, after.height) == transform.size
    for point in np.array([[0.05, -0.04, 1.0], [-0.1, 0.08, 1.2], [0.12, 0.1, 0.9]]):
        u, v = project(lens, point[None])[0]
        grid_v, grid_u = np.mgrid[0:480, 0:640]
        spot = np.exp(-((grid_u - u) ** 2 + (grid_v - v) ** 2) / (2 * 6.0**2))
        seen = transform.apply(np.repeat((250 * spot).astype(np.uint8)[:, :, None], 3, 2))[:, :, 0].astype(float)
        weight = seen / seen.sum()
        rows, columns = np.mgrid[0 : seen.shape[0], 0 : seen.shape[1]]
        expected = project(after, turned_points(point[None], change.rotate))[0]
        assert [(weight * columns).sum(), (weight * rows).sum()] == pytest.approx(expected, abs=0.15)


def test_sizes_and_depth_keeps_its_values():
    transform = ImageTransform(ImageTransformConfig(square=True, rotate=90, width=120, height=120), 640, 480)
    assert transform.size == (120, 120) and transform.apply(np.zeros((480, 640, 3), np.uint8)).shape == (120, 120, 3)
    depth = np.where(np.arange(640) < 320, 0, 5000).astype(np.uint16)[None].repeat(480, 0)
    small = transform.apply_depth(depth)
    assert small.dtype == np.uint16 and set(np.unique(small)) == {0, 5000}
    assert ImageTransform(ImageTransformConfig(rotate=90), 640, 480).size == (480, 640)
    with refused(DataError, field="image", shows=("640x480", "320x240")):
        transform.apply(np.zeros((240, 320, 3), np.uint8))


@pytest.mark.parametrize(
    "make, fields",
    [
        (lambda: ImageTransformConfig(crop=(1, 1, 0, 5)), {"parameter": "camera.crop"}),
        (lambda: ImageTransformConfig(width=64), {"parameter": "camera.width", "code": Code.DOES_NOT_FIT}),
        (
            lambda: ImageTransform(ImageTransformConfig(crop=(600, 0, 41, 480)), 640, 480),
            {"parameter": "camera.crop", "code": Code.DOES_NOT_FIT, "shows": "640x480"},
        ),
        (lambda: Profile.parse("640:480", "profile"), {"parameter": "camera.profile", "shows": "640x480x30"}),
        (lambda: Profile.parse("0x480x30", "profile"), {"parameter": "camera.profile"}),
        (
            lambda: Profile(640, 480).check_size(1280, 720, "cam"),
            {"parameter": "camera.profile", "code": Code.DOES_NOT_FIT, "shows": ("640x480", "1280x720")},
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, fields):
    with refused(ConfigError, **fields):
        make()


CALIBRATION = {
    "image_width": 640,
    "image_height": 480,
    "camera_name": "wrist",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [600.0, 0, 330.0, 0, 590, 236.0, 0, 0, 1]},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.05, 0.004, -0.006, 0.01]},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1, 0, 0, 0, 1, 0, 0, 0, 1]},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [600, 0, 330, 0, 0, 590, 236, 0, 0, 0, 1, 0]},
}


def write(tmp_path, **changes):
    path = tmp_path / "calibration.yaml"
    path.write_text(yaml.safe_dump({**CALIBRATION, **changes}))
    return str(path)


def test_calibration_file_is_read_and_used(tmp_path):
    path = write(tmp_path)
    assert load_calibration(path) == PLUMB
    long = {"data": [*PLUMB.coefficients, 0.2, 0.3, 0.4, *[0.0] * 6]}
    rational = load_calibration(write(tmp_path, distortion_model="rational_polynomial", distortion_coefficients=long))
    assert rational.coefficients[5:] == (0.2, 0.3, 0.4)
    pipeline = Pipeline(PipelineConfig(calibration_file=write(tmp_path), require_calibration=True))
    pipeline.fit((640, 480), None, "cam")
    assert pipeline.intrinsics == PLUMB
    with refused(
        ConfigError, parameter="camera.calibration_file", code=Code.DOES_NOT_FIT, shows=("640x480", "1280x720")
    ):
        pipeline.fit((1280, 720), None, "cam")


@pytest.mark.parametrize(
    "changes, code",
    [
        ({"image_width": "640"}, Code.VALUE),
        ({"camera_matrix": {"data": [600.0, 0, 330.0]}}, Code.VALUE),
        ({"camera_matrix": {"data": [-600.0, 0, 330.0, 0, 590, 236.0, 0, 0, 1]}}, Code.VALUE),
        ({"camera_matrix": {"data": [600.0, 0, 3300.0, 0, 590, 236.0, 0, 0, 1]}}, Code.DOES_NOT_FIT),
        ({"camera_matrix": {"data": [float("nan"), 0, 330.0, 0, 590, 236.0, 0, 0, 1]}}, Code.VALUE),
        ({"distortion_model": "magic"}, Code.VALUE),
        ({"distortion_coefficients": None}, Code.VALUE),
        ({"distortion_coefficients": {"data": [0.0] * 13 + [1.0]}}, Code.VALUE),
    ],
)
def test_bad_calibration_is_refused(tmp_path, changes, code):
    path = write(tmp_path, **changes)
    with refused(ConfigError, parameter=next(iter(changes)), file=path, code=code, shows="'calibration_file'"):
        load_calibration(path)


def test_unreadable_or_missing_calibration_is_refused(tmp_path):
    with refused(
        ConfigError, parameter="camera.calibration_file", code=Code.MISSING_FILE, file=tmp_path / "nowhere.yaml"
    ):
        load_calibration(str(tmp_path / "nowhere.yaml"))
    bad = tmp_path / "bad.yaml"
    for text, code, line in (("a: [", Code.YAML, ":1"), ("- 1", Code.UNREADABLE, ""), ("\x00", Code.YAML, "")):
        bad.write_text(text)
        with refused(ConfigError, parameter="camera.calibration_file", code=code, file=f"{bad}{line}"):
            load_calibration(str(bad))
    with refused(ConfigError, parameter="camera.calibration_file", code=Code.NOT_GIVEN, shows="require_calibration"):
        Pipeline(PipelineConfig(require_calibration=True)).fit((640, 480), None, "cam")


def test_an_unknown_camera_says_so():
    pipeline = Pipeline(PipelineConfig(ImageTransformConfig(width=64, height=48)))
    pipeline.fit((640, 480), None, "cam")
    assert pipeline.intrinsics.fx == 0 and (pipeline.intrinsics.width, pipeline.intrinsics.height) == (64, 48)
