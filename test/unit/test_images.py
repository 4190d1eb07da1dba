# SPDX-License-Identifier: Apache-2.0
"""JPEG frames: colours, sizes, reduced decoding, packing, damaged input."""

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data import images
from erl_vlm_ros.data.image_headers import ImageError
from erl_vlm_ros.data.images import decode_jpeg, decode_many, encode_jpeg, jpeg_size, pack_jpegs, unpack_jpegs


def smooth_image(height=128, width=128):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 30)], 2).astype(np.uint8)


def test_round_trip_keeps_colours_in_rgb_order():
    image = smooth_image()
    decoded = decode_jpeg(encode_jpeg(image))
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - image).max() < 12
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert decode_jpeg(encode_jpeg(red))[16, 16].tolist() == pytest.approx([255, 0, 0], abs=6)


@pytest.mark.parametrize(
    "stored, size", [(128, 64), (128, 48), (128, 32), (128, 84), (256, 48), (64, 128), (130, 64), (128, 128)]
)
def test_resized_decoding_agrees_with_full_decoding_then_resize(stored, size):
    data = encode_jpeg(smooth_image(stored, stored))
    small = decode_jpeg(data, size)
    full = decode_jpeg(data)
    expected = cv2.resize(full, (size, size), interpolation=cv2.INTER_AREA if size <= stored else cv2.INTER_LINEAR)
    assert small.shape == (size, size, 3)
    assert np.abs(small.astype(int) - expected).mean() < 2


def test_header_size_without_decoding():
    assert jpeg_size(encode_jpeg(smooth_image(96, 160))) == (96, 160)


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: b"not a jpeg", lambda d: d[:20], lambda d: b"\x89PNG" + d])
def test_damaged_data_is_a_value_error(damage):
    with refused(ImageError, field=""):
        decode_jpeg(damage(encode_jpeg(smooth_image())))


def test_a_header_claiming_a_huge_image_is_refused_before_decoding():
    data = bytearray(encode_jpeg(smooth_image()))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    with refused(ImageError, field="", shows="65535x65535"):
        decode_jpeg(bytes(data))


@pytest.mark.parametrize("read", [images.decode_image, decode_jpeg, images.check_jpeg, images.image_size, jpeg_size])
def test_too_many_bytes_are_refused_before_the_header_is_read(read, monkeypatch):
    data = encode_jpeg(np.zeros((16, 16, 3), np.uint8))
    read(data)
    monkeypatch.setattr(images, "MAX_BYTES", len(data) - 1)
    monkeypatch.setattr(images, "jpeg_header", None)
    with pytest.raises(ImageError):
        read(data)


def test_decode_many_names_the_bad_frame():
    good = encode_jpeg(smooth_image())
    assert decode_many([good, good], 64).shape == (2, 64, 64, 3)
    assert decode_many([], 64).shape == (0, 64, 64, 3)
    with refused(DataError, field="frame 1"):
        decode_many([good, b"x"], 64)


def test_encoding_refuses_other_arrays():
    with refused(DataError, field="image", shows="uint8"):
        encode_jpeg(np.zeros((4, 4, 3), np.float32))


def test_packing_round_trip_and_bad_offsets():
    frames = [b"abc", b"", b"de"]
    data, offsets = pack_jpegs(frames)
    assert offsets.tolist() == [0, 3, 3, 5] and unpack_jpegs(data, offsets) == frames
    assert unpack_jpegs(*pack_jpegs([])) == []
    for bad in ([0, 3, 2, 5], [1, 3, 3, 5], [0, 3, 3, 4], []):
        with refused(DataError, field="offsets"):
            unpack_jpegs(data, np.array(bad, np.int64))
