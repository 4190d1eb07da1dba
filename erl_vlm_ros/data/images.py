# SPDX-License-Identifier: Apache-2.0
"""Camera frames as JPEG: encoding, fast decoding at the reward model's size, packing many into one array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

MAX_SIDE = 4096  # px; a header that claims more is refused before anything is allocated
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """Compress an image uint8 [h, w, 3], RGB. Raises ValueError on another shape or dtype."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"expected an uint8 image [h, w, 3], got {rgb.dtype} {list(rgb.shape)}")
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of {list(rgb.shape)}")
    return data.tobytes()


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(height, width) in px from the header, without decoding. Raises ValueError when it is not a JPEG."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG: it does not start with ff d8")
    at, end = 2, len(data)
    while at + 9 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SOF:
            return (data[at + 5] << 8) | data[at + 6], (data[at + 7] << 8) | data[at + 8]
        at += 2 + ((data[at + 2] << 8) | data[at + 3])
    raise ValueError("not a JPEG: no frame header")


def decode_jpeg(data: bytes, size: int | None = None) -> np.ndarray:
    """Decompress to uint8 RGB: [h, w, 3] as stored, or area-resized to [size, size, 3].

    At half the stored size or less, the decoder itself reduces (it skips high frequencies), which is cheaper
    than decoding everything and averaging.

    Raises:
        ValueError: not a readable JPEG, or larger than MAX_SIDE.
    """
    height, width = jpeg_size(data)
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError(f"JPEG of {width}x{height} px is outside 1..{MAX_SIDE} px")
    flag = cv2.IMREAD_COLOR
    if size is not None:
        shorter = min(height, width)
        if shorter >= 4 * size:
            flag = cv2.IMREAD_REDUCED_COLOR_4
        elif shorter >= 2 * size:
            flag = cv2.IMREAD_REDUCED_COLOR_2
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None:
        raise ValueError("JPEG data is damaged")
    if size is not None and image.shape[:2] != (size, size):
        shrinks = min(image.shape[:2]) >= size
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode_many(jpegs: Sequence[bytes], size: int) -> np.ndarray:
    """Decode N frames to uint8 [N, size, size, 3], RGB. Raises ValueError naming the first bad frame."""
    out = np.empty((len(jpegs), size, size, 3), np.uint8)
    for i, data in enumerate(jpegs):
        try:
            out[i] = decode_jpeg(data, size)
        except ValueError as error:
            raise ValueError(f"frame {i} of {len(jpegs)}: {error}") from error
    return out


def pack_jpegs(jpegs: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Join N byte strings: (uint8 [B], int64 offsets [N+1]); frame i is ``data[offsets[i]:offsets[i+1]]``."""
    offsets = np.zeros(len(jpegs) + 1, np.int64)
    np.cumsum([len(j) for j in jpegs], out=offsets[1:])
    return np.frombuffer(b"".join(jpegs), np.uint8), offsets


def unpack_jpegs(data: np.ndarray, offsets: np.ndarray) -> list[bytes]:
    """Inverse of pack_jpegs. Raises ValueError unless offsets run from 0 to B without going back."""
    if (
        offsets.ndim != 1
        or offsets.size < 1
        or offsets[0] != 0
        or offsets[-1] != data.size
        or (np.diff(offsets) < 0).any()
    ):
        raise ValueError(f"JPEG offsets do not run from 0 to {data.size} without going back")
    raw, at = data.tobytes(), offsets.tolist()
    return [raw[a:b] for a, b in pairwise(at)]
