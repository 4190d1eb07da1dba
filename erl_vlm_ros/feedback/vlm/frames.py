# SPDX-License-Identifier: Apache-2.0
"""Whether frames can be rated at all: found out from their headers, before anything is asked or paid."""

from __future__ import annotations

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.images import jpeg_size
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.views import all_jpegs

MIN_SIDE, MAX_SIDE = 16, 8192  # pixels


def check_frames(batch: QueryBatch) -> None:
    """ValueError that names segment, frame and size: not a JPEG, too small or large to be rated, or another size than
    the batch's first frame (a camera that was exchanged or set up anew in the middle of a run)."""
    first: tuple[int, int] | None = None
    for segment in batch.segments:
        for i, jpeg in enumerate(all_jpegs(segment.jpegs)):
            where = f"segment {segment.id}, frame {i + 1}"
            try:
                height, width = jpeg_size(jpeg)
            except ValueError as error:
                raise DataError(f"{where}: {error}", field=where) from error
            size = f"{width}x{height} pixels"
            if not MIN_SIDE <= min(height, width) <= max(height, width) <= MAX_SIDE:
                raise DataError(f"{where}: {size}; sides must be from {MIN_SIDE} to {MAX_SIDE} pixels", field=where)
            if first is not None and first != (height, width):
                raise DataError(
                    f"{where}: {size}, the others have {first[1]}x{first[0]}; one run takes one size", field=where
                )
            first = (height, width)
