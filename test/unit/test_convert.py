# SPDX-License-Identifier: Apache-2.0
"""Messages to numpy and back. Needs the message packages, but no running ROS."""

import math

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2 (pip install '.[ros]')")

from refusals import refused
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, Float64MultiArray

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.ros import convert


def test_stamps_keep_every_nanosecond():
    for ns in (0, 1, 999_999_999, 1_000_000_000, 1_795_170_604_478_569_845):
        assert convert.stamp_to_ns(convert.ns_to_stamp(ns)) == ns
    with pytest.raises(ValueError):
        convert.ns_to_stamp(-1)


def test_rgb_image_round_trip():
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    message = convert.image_message(rgb, 5_000_000_001, "cam")
    assert (message.height, message.width, message.step, message.encoding) == (4, 6, 18, "rgb8")
    assert message.header.frame_id == "cam" and convert.header_ns(message) == 5_000_000_001
    assert np.array_equal(convert.image_to_rgb(message), rgb)
    with refused(DataError, field="image", shows="uint8"):
        convert.image_message(rgb.astype(float), 0, "cam")


@pytest.mark.parametrize("encoding, channels", [("rgb8", 3), ("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1)])
def test_encodings_and_row_padding(encoding, channels):
    rgb = np.random.default_rng(1).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    if channels == 1:
        rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
    stored = rgb[:, :, ::-1] if encoding.startswith("bgr") else rgb
    stored = stored[:, :, :1] if channels == 1 else stored
    if channels == 4:
        stored = np.concatenate([stored, np.full((3, 5, 1), 255, np.uint8)], axis=2)
    rows = np.concatenate([stored.reshape(3, -1), np.full((3, 7), 9, np.uint8)], axis=1)
    message = Image(height=3, width=5, step=rows.shape[1], encoding=encoding, data=rows.tobytes())
    assert np.array_equal(convert.image_to_rgb(message), rgb)


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"encoding": "16UC1"}, {"field": "encoding", "shows": "16UC1"}),
        ({"step": 5}, {"field": "data"}),
        ({"height": 9}, {"field": "data"}),
        ({"height": 0}, {"field": "data"}),
    ],
)
def test_images_that_do_not_fit_are_refused(change, fields):
    values = {"height": 2, "width": 2, "step": 6, "encoding": "rgb8", "data": bytes(12)} | change
    with refused(DataError, **fields):
        convert.image_to_rgb(Image(**values))


def test_joints_are_found_by_name():
    message = convert.joint_message(["b", "a", "c"], [2.0, 1.0, 3.0], [0.0, 0.0, 0.0], 7)
    assert convert.joints_by_name(message, ["a", "b"]).tolist() == [1.0, 2.0]
    with refused(DataError, field="name", shows="d, e"):
        convert.joints_by_name(message, ["a", "d", "e"])
    with refused(DataError, field="position"):
        convert.joints_by_name(JointState(name=["a", "b"], position=[1.0]), ["a"])


def test_pose_twist_and_camera_info():
    pose = convert.pose_message(np.array([1, 2, 3]), (0, 0, 0, 1), 9, "base_link")
    assert convert.position_of(pose) == (1.0, 2.0, 3.0) and pose.pose.orientation.w == 1.0
    twist = convert.twist_message((0.1, -0.2, 0.3), 9, "base_link")
    assert convert.linear_of(twist) == (0.1, -0.2, 0.3) and twist.header.frame_id == "base_link"
    matrix = np.array([[100.0, 0, 31.5], [0, 100.0, 23.5], [0, 0, 1]])
    info = convert.camera_info_message(matrix, 64, 48, 9, "cam")
    assert np.array_equal(np.array(info.k).reshape(3, 3), matrix)
    assert np.array_equal(np.array(info.p).reshape(3, 4)[:, :3], matrix)
    assert (info.width, info.height, info.distortion_model, list(info.d)) == (64, 48, "plumb_bob", [0.0] * 5)


def test_gripper_command_carries_its_stamp_and_plain_ones_have_none():
    assert convert.width_of(convert.width_message(0.03, 1234567890123456789)) == (0.03, 1234567890123456789)
    assert convert.width_of(Float64MultiArray(data=[0.02])) == (0.02, -1)
    with refused(DataError, field="data"):
        convert.width_of(Float64MultiArray(data=[0.1, 0.2]))


def test_bytes_round_trip_without_a_copy():
    data = bytes(range(256)) * 10
    message = convert.bytes_message(data)
    assert bytes(convert.bytes_of(message)) == data


def test_metrics_round_trip_and_what_is_not_a_number_is_left_out():
    message = convert.metrics_message("node", {"a": 1, "b": 0.1 + 0.2, "c": True, "d": math.nan}, 5, b"\x01", "text")
    message.status[0].values.append(type(message.status[0].values[0])(key="e", value="many"))
    values = convert.metrics_of(message)["node"]
    assert values["a"] == 1.0 and values["b"] == 0.1 + 0.2 and values["c"] == 1.0 and math.isnan(values["d"])
    assert "e" not in values
    assert (message.status[0].level, message.status[0].message) == (b"\x01", "text")


def test_values_in_words_beside_the_figures():
    message = convert.metrics_message("node", {"a": 1, "b": math.inf}, 5, texts={"currency": "EUR"})
    assert convert.texts_of(message) == {"node": {"currency": "EUR"}}
    assert convert.metrics_of(message) == {"node": {"a": 1.0}}


def test_rewards_of_an_episode():
    rewards, episode = convert.rewards_of(convert.rewards_message(np.array([0.5, 1.0]), 7))
    assert rewards.tolist() == [0.5, 1.0] and episode == 7
    with refused(DataError, field="label"):
        convert.rewards_of(Float32MultiArray(data=[0.5]))
