# SPDX-License-Identifier: Apache-2.0
"""Images from anywhere: what is allocated is known before it is decoded, and what is wrong is an ImageError."""

from __future__ import annotations

import ast
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import erl_vlm_ros
from erl_vlm_ros.data import images
from erl_vlm_ros.data.image_headers import MAX_SCANS, ImageError, jpeg_header, png_header
from erl_vlm_ros.data.images import check_jpeg, decode_image, decode_jpeg, encode_jpeg, image_size


def jpeg(height=24, width=40, progressive=False):
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8), (width, height))
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    return cv2.imencode(".jpg", image, flags)[1].tobytes()


def png(width=8, height=8, claimed=None):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(3 * width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


SMALL_FRAME = b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"


def with_size(data, height, width):
    data = bytearray(data)
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("fill", [b"", b"\xff", b"\xff\xff\xff"])
def test_a_frame_header_inside_an_application_segment_is_no_frame_header(fill):
    huge = with_size(jpeg(), 16_000, 16_000)
    body = SMALL_FRAME * 3000  # whatever a careless reader lands on says 64x64
    fake = huge[:2] + fill + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + huge[2:]
    assert jpeg_header(fake) == (16_000, 16_000)
    for decode in (decode_image, decode_jpeg, check_jpeg):
        with pytest.raises(ImageError):
            decode(fake)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        jpeg()[:-2],
        jpeg()[: jpeg().index(b"\xff\xda") + 14],
        jpeg()[: jpeg().index(b"\xff\xc0") + 4],
        jpeg()[:2] + SMALL_FRAME + jpeg()[2:],
        jpeg()[:2] + b"\x00" + jpeg()[2:],
        jpeg()[:2] + jpeg(),
        jpeg()[:2] + b"\xff\xe1\x00\x01" + jpeg()[2:],
        with_size(jpeg(), 0, 40),
        with_size(jpeg(), 8192, 8192),
        jpeg()[:-2] + jpeg()[jpeg().index(b"\xff\xda") : -2] * (MAX_SCANS + 1) + b"\xff\xd9",
        png()[:-10],
        png()[:20],
        png(claimed=(1 << 30, 1 << 30)),
        png(claimed=(0, 8)),
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
    ],
)
def test_what_is_no_whole_image_is_refused(data):
    with pytest.raises(ImageError):
        decode_image(data)
    with pytest.raises(ImageError):
        check_jpeg(data)


def test_more_bytes_than_an_image_may_have(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    with pytest.raises(ImageError):
        decode_image(jpeg() + bytes(1000))


@pytest.mark.parametrize("progressive", [False, True])
def test_ordinary_images_are_read(progressive):
    data = jpeg(progressive=progressive)
    assert image_size(data) == (24, 40) and decode_image(data).shape == (24, 40, 3)
    assert image_size(data + bytes(100)) == (24, 40)  # padding behind the end, as some cameras send it
    check_jpeg(data)
    assert image_size(png(6, 9)) == png_header(png(6, 9)) == (9, 6) and decode_image(png(6, 9)).shape == (9, 6, 3)
    with pytest.raises(ImageError):
        check_jpeg(png())
    strip = cv2.imencode(".jpg", np.zeros((100, 8000, 3), np.uint8))[1].tobytes()
    assert decode_image(strip).shape == (100, 8000, 3)


BASES = [encode_jpeg(np.full((16, 24, 3), 90, np.uint8)), jpeg(), jpeg(progressive=True), png()]


@given(
    st.sampled_from(BASES),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=5),
    st.integers(0, 3000),
)
def test_whatever_is_changed_the_size_is_the_decoders_or_it_is_an_image_error(base, changes, end):
    data = bytearray(base)
    for at, new in changes:
        data[at : at + len(new)] = new
    data = bytes(data[: max(end, 4)])
    try:
        image = decode_image(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except ImageError:
        return
    assert image.shape[:2] == image_size(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_an_image_error(data):
    for prefix in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ImageError):
            decode_image(prefix + data)


def test_nobody_else_calls_the_decoder():
    package = Path(erl_vlm_ros.__file__).parent
    callers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("imdecode", "imread", "imdecodemulti"):
                callers.add(str(path.relative_to(package)))
    assert callers == {"data/images.py"}
