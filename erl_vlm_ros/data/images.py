# SPDX-License-Identifier: Apache-2.0
"""Camera frames as JPEG: encoding, safe and fast decoding, packing many into one array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.image_headers import PNG_SIGNATURE, ImageError, jpeg_header, png_header

MAX_BYTES = 64 << 20
MAX_SIDE = 8192  # px
MAX_PIXELS = 4096 * 4096


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """Compress an image uint8 [h, w, 3], RGB. Raises ValueError on another shape or dtype."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise DataError(f"expected an uint8 image [h, w, 3], got {rgb.dtype} {list(rgb.shape)}", field="image")
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise DataError(f"OpenCV could not encode an image of {list(rgb.shape)}", field="image")
    return data.tobytes()


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(height, width) in px by the header that a decoder goes by, without decoding. ImageError: not a whole JPEG."""
    _check_length(data)
    return jpeg_header(data)


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) in px of a JPEG or PNG, without decoding. Raises ImageError when it is neither, or cut off."""
    _check_length(data)
    return png_header(data) if data[:8] == PNG_SIGNATURE else jpeg_header(data)


def _check_length(data: bytes) -> None:
    """Before anything is read of it."""
    if len(data) > MAX_BYTES:
        raise ImageError(f"an image of {len(data)} bytes is above the limit of {MAX_BYTES}")


def decode_image(data: bytes, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decode a JPEG or PNG from anywhere; the only place that hands bytes to OpenCV's decoders.

    What the decoder would allocate is known, and refused, before it begins.

    Args:
        flag: of cv2.imread.
    Returns:
        uint8 [h, w, 3], BGR, or what ``flag`` asks for.
    Raises:
        ImageError: neither JPEG nor PNG, cut off, damaged, or beyond MAX_BYTES, MAX_SIDE or MAX_PIXELS.
    """
    return _decode(data, image_size(data), flag)


def _decode(data: bytes, size: tuple[int, int], flag: int) -> np.ndarray:
    """The same, of an image whose header says that it is of ``size`` (height, width), px."""
    height, width = size
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise ImageError(f"JPEG or PNG of {width}x{height} px is outside 1..{MAX_SIDE} px or above {MAX_PIXELS} px")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f"JPEG or PNG data is damaged: {error.err or error.code}") from error
    if image is None:
        raise ImageError("JPEG or PNG data is damaged")
    return image


def check_jpeg(data: bytes) -> None:
    """Whether a frame of a message can be decoded: at an eighth of its size, for little. Raises ImageError."""
    _decode(data, jpeg_size(data), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def decode_jpeg(data: bytes, size: int | None = None) -> np.ndarray:
    """Decompress to uint8 RGB: [h, w, 3] as stored, or area-resized to [size, size, 3].

    At half the stored size or less, the decoder itself reduces (it skips high frequencies), which is cheaper
    than decoding everything and averaging.

    Raises:
        ImageError: as decode_image; or not a JPEG.
    """
    stored, flag = jpeg_size(data), cv2.IMREAD_COLOR
    if size is not None:
        shorter = min(stored)
        if shorter >= 4 * size:
            flag = cv2.IMREAD_REDUCED_COLOR_4
        elif shorter >= 2 * size:
            flag = cv2.IMREAD_REDUCED_COLOR_2
    image = _decode(data, stored, flag)
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
            raise DataError(f"frame {i} of {len(jpegs)}: {error}", field=f"frame {i}") from error
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
        raise DataError(f"JPEG offsets do not run from 0 to {data.size} without going back", field="offsets")
    raw, at = data.tobytes(), offsets.tolist()
    return [raw[a:b] for a, b in pairwise(at)]


def unpack_frames(data: np.ndarray, offsets: np.ndarray) -> list[bytes]:
    """``unpack_jpegs`` of a message: every frame is looked at. ValueError names the first that cannot be decoded."""
    frames = unpack_jpegs(data, offsets)
    for i, frame in enumerate(frames):
        try:
            check_jpeg(frame)
        except ImageError as error:
            raise ImageError(f"frame {i + 1} of {len(frames)}: {error}", field=f"frame {i + 1}") from error
    return frames
