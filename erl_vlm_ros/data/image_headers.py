# SPDX-License-Identifier: Apache-2.0
"""Sizes of JPEG and PNG data, read as a decoder reads them: so that what it will allocate is known before it begins.

JPEG: ITU-T T.81, annex B. Segments are skipped by their length, entropy-coded data up to its next marker; what a
decoder would have to guess (bytes between segments, a second frame header, no end) is refused.
"""

from __future__ import annotations

import re

from erl_vlm_ros.common.errors import DataError

JPEG_SIGNATURE = b"\xff\xd8"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SCANS = 64  # of one JPEG: each costs a pass over the whole image
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment: TEM, RST0..7
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # ends entropy-coded data
_PNG_END = b"IEND\xae\x42\x60\x82"


class ImageError(DataError):
    """Bytes that are not the image they should be."""


def jpeg_header(data: bytes) -> tuple[int, int]:
    """(height, width) in px of the frame that a decoder will find. Raises ImageError: not a JPEG, or not to its end."""
    if data[:2] != JPEG_SIGNATURE:
        raise ImageError("not a JPEG: it does not start with ff d8")
    at, size, scans = 2, None, 0
    while True:
        marker, at = _next_marker(data, at)
        if marker == _EOI:
            if size is None or not scans:
                raise ImageError("not a JPEG: it ends before its image begins")
            return size
        if marker in _ALONE:
            continue
        if marker == _SOI or marker == 0:
            raise ImageError(f"JPEG is damaged: marker {marker:02x} at byte {at}")
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            raise ImageError("JPEG is cut off, or not a JPEG: a segment is longer than the data")
        if marker in _SOF:
            if size is not None or length < 8:
                raise ImageError("JPEG is damaged: more than one frame header, or a short one")
            size = (int.from_bytes(data[at + 3 : at + 5], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
        at += length
        if marker == _SOS:
            scans += 1
            if size is None or scans > MAX_SCANS:
                raise ImageError(f"JPEG is damaged: no frame header before its data, or more than {MAX_SCANS} scans")
            found = _MARKER.search(data, at)
            if found is None:
                raise ImageError("JPEG is cut off: its data has no end")
            at = found.start()


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at ``at``, fill bytes passed over, and where it ends."""
    begin = at
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at == begin or at >= len(data):
        raise ImageError("JPEG is cut off, or not a JPEG: no marker where one must be")
    return data[at], at + 1


def png_header(data: bytes) -> tuple[int, int]:
    """(height, width) in px of a PNG. Raises ImageError: not a PNG, or cut off."""
    if data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        raise ImageError("not a PNG: it does not start with its header")
    if _PNG_END not in data[-64:]:
        raise ImageError("PNG is cut off: its data has no end")
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
