# SPDX-License-Identifier: Apache-2.0
"""Images of one camera as MP4 files: episodes one after another, a new file beyond a size."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.images import decode_jpeg
from erl_vlm_ros.recordings.lerobot import layout as lay

#: as it is asked for and as info.json calls it -> (FFmpeg's encoder, its options). A frame of two is a key frame, as in
#: LeRobot's own: readers jump into the middle
CODECS = {
    "h264": ("libx264", {"crf": "18", "g": "2", "bf": "0", "preset": "fast"}),
    "av1": ("libsvtav1", {"crf": "30", "g": "2", "preset": "8"}),
}
PIXELS = "yuv420p"


def video_info(codec: str, height: int, width: int, fps: float) -> dict[str, Any]:
    """What ``info`` of a feature says of its video."""
    return {
        "video.height": height, "video.width": width, "video.codec": codec, "video.pix_fmt": PIXELS,
        "video.is_depth_map": False, "video.fps": fps, "video.channels": 3, "has_audio": False,
    }  # fmt: skip


class VideoWriter:
    """The files of the camera ``key`` below ``path``.

    Raises:
        ConfigError: PyAV is missing, its FFmpeg lacks the encoder, or a side is odd, which 4:2:0 does not have.
    """

    def __init__(self, path: Path, key: str, codec: str, shape: tuple[int, int], fps: float):
        self._av, self._path, self._key = lay.module("av"), path, key
        self._codec, self._shape, self._rate = codec, shape, Fraction(str(fps))
        encoder = CODECS[codec][0]
        try:
            self._av.codec.Codec(encoder, "w")
        except ValueError as error:
            text = f"--video-codec {codec}: PyAV's FFmpeg has no encoder {encoder}; choose of {', '.join(CODECS)}"
            raise ConfigError(text, code=Code.MISSING_PACKAGE, parameter="video") from error
        if any(side % 2 for side in shape):
            text = f"images of {shape[1]}x{shape[0]} px cannot become a video: both sides must be even"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="video")
        self.files, self._frames = 0, 0
        self._container: Any = None
        self._file = path

    def add(self, jpegs: list[bytes]) -> dict[str, Any]:
        """Append an episode's frames; returns its place as the table of episodes has it."""
        if self._container is None or self._file.stat().st_size > lay.VIDEO_MB << 20:
            self._next()
        first, file = self._frames, self.files - 1
        for jpeg in jpegs:
            frame = self._av.VideoFrame.from_ndarray(decode_jpeg(jpeg), format="rgb24")
            frame.pts, frame.time_base = self._frames, 1 / self._rate
            self._container.mux(self._stream.encode(frame))
            self._frames += 1
        place = f"videos/{self._key}"
        return {
            f"{place}/chunk_index": file // lay.FILES_A_CHUNK, f"{place}/file_index": file % lay.FILES_A_CHUNK,
            f"{place}/from_timestamp": float(first / self._rate),
            f"{place}/to_timestamp": float(self._frames / self._rate),
        }  # fmt: skip

    def _next(self) -> None:
        self.close()
        chunk, index = divmod(self.files, lay.FILES_A_CHUNK)
        self._file = self._path / lay.VIDEO.format(video_key=self._key, chunk_index=chunk, file_index=index)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        encoder, options = CODECS[self._codec]
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1: errors alone
        self._container = self._av.open(str(self._file), "w")
        self._stream = self._container.add_stream(encoder, rate=self._rate, options=dict(options))
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt, self._stream.time_base = PIXELS, 1 / self._rate
        self.files, self._frames = self.files + 1, 0

    def close(self) -> None:
        """Write what the encoder still holds, and end the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None
