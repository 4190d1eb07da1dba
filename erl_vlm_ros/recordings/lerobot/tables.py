# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset's rows, an episode at a time, with its images as JPEG or PNG bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.recordings.lerobot import layout as lay
from erl_vlm_ros.recordings.problems import Reason, RecordingError

_BATCH = 1024  # rows
_VIDEO_QUALITY = 95  # of the JPEGs that a video's frames become


@dataclass(frozen=True)
class Rows:
    """N rows of episode ``number``: name -> [N] or [N, k]; ``images``: of each camera N, encoded."""

    number: int
    columns: dict[str, np.ndarray]
    images: list[list[bytes]]

    @property
    def count(self) -> int:
        """N."""
        return len(self.images[0])


class Dataset:
    """Opened by its ``meta/info.json``."""

    def __init__(self, path: str | Path, names: Sequence[str] = (), given: Sequence[tuple[str, str]] = ()):
        """Args:
            names: of cameras; none: one without a name. given: (name, key of its feature), where that is not
                observation.images.NAME, or the only one.

        Raises:
            RecordingError: ``UNREADABLE``, ``VERSION``, ``NO_TOPIC`` or ``SEVERAL_TOPICS``.
        """
        self.path = Path(path)
        self._pq = lay.module("pyarrow.parquet")
        if not (self.path / lay.INFO).is_file():
            raise self.error(Reason.NO_BAG, f"no LeRobot dataset: it has no {lay.INFO}")
        try:
            self.info = lay.read_json(self.path / lay.INFO)
            version, self.features = str(self.info["codebase_version"]), dict(self.info["features"])
            self.fps, self.frames = float(self.info["fps"]), int(self.info["total_frames"])
            kinds = {name: (str(of["dtype"]), list(of["shape"])) for name, of in self.features.items()}
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise self.error(Reason.UNREADABLE, f"{lay.INFO}: {type(error).__name__}: {error}") from error
        if version.split(".")[0] != lay.VERSION.split(".")[0]:
            raise self.error(
                Reason.VERSION, f"it is of version {version}; convert it to {lay.VERSION} with LeRobot first"
            )
        if self.fps <= 0:
            raise self.error(Reason.UNREADABLE, f"{lay.INFO}: fps is {self.fps}")
        cameras = [name for name, (kind, _) in kinds.items() if kind in ("image", "video")]
        by_name = dict(given)
        self.cameras = tuple((name, self._camera(cameras, by_name.get(name, name))) for name in names or ("",))
        self._image_keys = [key for _, key in self.cameras if kinds[key][0] == "image"]
        self._video_keys = [key for _, key in self.cameras if kinds[key][0] == "video"]
        self._kinds = {name: kind for name, kind in kinds.items() if kind[0] not in ("image", "video", "string")}

    def _camera(self, cameras: list[str], asked: str) -> str:
        found = [name for name in cameras if asked in ("", name, name.removeprefix("observation.images."))]
        if not found:
            raise self.error(Reason.NO_TOPIC, f"no camera {asked}; it has {', '.join(cameras) or 'none'}", asked)
        if len(found) > 1:
            raise self.error(Reason.SEVERAL_TOPICS, f"choose --camera from {', '.join(cameras)}")
        return found[0]

    def require(self, name: str) -> dict[str, Any]:
        """A feature. RecordingError: ``NO_TOPIC``."""
        if name not in self._kinds:
            raise self.error(Reason.NO_TOPIC, f"no column {name}; it has {', '.join(self.features)}", name)
        return self.features[name]

    def names(self, name: str) -> list[str]:
        """Names of a vector's numbers; empty: they are not told. LeRobot writes a list, or a mapping that holds one."""
        told = self.features[name].get("names")
        if isinstance(told, dict) and len(told) == 1:
            (told,) = told.values()
        return [str(n) for n in told] if isinstance(told, list) else []

    def episodes(self) -> Iterator[Rows]:
        """All of them. RecordingError: ``UNREADABLE``, ``TRUNCATED``: there are fewer rows than the dataset says."""
        files = sorted((self.path / "data").glob("*/*.parquet"))
        videos = {key: _Videos(self, key) for key in self._video_keys}
        pending: dict[str, list[np.ndarray]] = {}
        images: dict[str, list[bytes]] = {}
        number, seen = -1, 0
        try:
            for file in files:
                for columns, some in self._batches(file):
                    index = columns["episode_index"].reshape(-1)
                    cuts = [0, *(np.flatnonzero(np.diff(index)) + 1), len(index)]
                    for a, b in zip(cuts, cuts[1:]):
                        if int(index[a]) != number and seen:
                            yield self._rows(number, pending, images, videos)
                            pending, images = {}, {}
                        number, seen = int(index[a]), seen + b - a
                        for name, values in columns.items():
                            pending.setdefault(name, []).append(values[a:b])
                        for key, encoded in some.items():
                            images.setdefault(key, []).extend(encoded[a:b])
        except RecordingError:
            raise
        except Exception as error:  # whatever a damaged file does to the libraries beneath
            raise self.error(Reason.UNREADABLE, f"{type(error).__name__}: {error}") from error
        if seen:
            yield self._rows(number, pending, images, videos)
        if seen != self.frames:
            raise self.error(Reason.TRUNCATED, f"{seen} rows in {len(files)} files; {lay.INFO} says {self.frames}")

    def _batches(self, file: Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, list[bytes]]]]:
        with self._pq.ParquetFile(file) as opened:
            there = set(opened.schema_arrow.names)
            wanted = [*self._kinds, *self._image_keys]
            missing = [name for name in wanted if name not in there]
            if missing:
                raise self.error(Reason.NO_TOPIC, f"{file} lacks the column {missing[0]}", missing[0])
            for batch in opened.iter_batches(_BATCH, columns=wanted):
                columns = {name: self._numbers(batch.column(name), name) for name in self._kinds}
                entries = {key: batch.column(key).to_pylist() for key in self._image_keys}
                yield columns, {key: [self._image(entry, key) for entry in some] for key, some in entries.items()}

    def _numbers(self, column: Any, name: str) -> np.ndarray:
        """[n] of a scalar column, [n, k] of a vector's."""
        if column.null_count:
            raise self.error(Reason.NOT_FINITE, f"the column {name} has rows without a value", name)
        if not hasattr(column.type, "value_type"):
            return column.to_numpy(zero_copy_only=False)
        flat = column.flatten()
        while hasattr(flat.type, "value_type"):
            flat = flat.flatten()
        return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)

    def _image(self, entry: Any, key: str) -> bytes:
        if not isinstance(entry, dict) or not (entry.get("bytes") or entry.get("path")):
            raise self.error(Reason.IMAGE, f"{key}: a row without an image", key)
        if entry.get("bytes"):
            return entry["bytes"]
        file = (self.path / entry["path"]).resolve()
        if not file.is_relative_to(self.path.resolve()):
            raise self.error(Reason.IMAGE, f"{key}: {entry['path']} is outside of the dataset", key)
        return file.read_bytes()

    def _rows(
        self, number: int, pending: dict[str, list[np.ndarray]], images: dict[str, list[bytes]],
        videos: dict[str, _Videos],
    ) -> Rows:  # fmt: skip
        columns = {name: np.concatenate(parts) for name, parts in pending.items()}
        count = len(columns["episode_index"])
        images = images | {key: video.frames(number, count) for key, video in videos.items()}
        return Rows(number, columns, [images[key] for _, key in self.cameras])

    def read_table(self, file: Path, columns: list[str]) -> dict[str, list[Any]]:
        """Some columns of a file. Raises OSError, ValueError or LookupError."""
        return self._pq.read_table(file, columns=columns).to_pydict()

    def read_rows(self, file: Path) -> list[dict[str, Any]]:
        """A small file, row by row. Raises OSError or ValueError."""
        return self._pq.read_table(file).to_pylist()

    def error(self, reason: Reason, text: str, topic: str = "") -> RecordingError:
        """With the dataset's path."""
        return RecordingError(reason, f"{self.path}: {text}", topic=topic, file=str(self.path))


class _Videos:
    """Frames out of MP4 files that hold many episodes each. They are read in order: seeking is not exact."""

    def __init__(self, dataset: Dataset, camera: str):
        self._of, self._camera, self._file, self._at = dataset, camera, None, 0
        self._av = lay.module("av")
        self._stream: Iterator[Any] = iter(())
        key = f"videos/{camera}"
        self._places: dict[int, tuple[Path, int]] = {}
        for file in sorted((dataset.path / "meta" / "episodes").glob("*/*.parquet")):
            names = ["episode_index", f"{key}/chunk_index", f"{key}/file_index", f"{key}/from_timestamp"]
            try:
                table = dataset.read_table(file, names)
                for number, chunk, index, start in zip(*(table[name] for name in names)):
                    template = dataset.info.get("video_path") or lay.VIDEO
                    path = dataset.path / template.format(video_key=camera, chunk_index=chunk, file_index=index)
                    self._places[number] = (path, round(start * dataset.fps))
            except Exception as error:
                raise dataset.error(Reason.UNREADABLE, f"{file}: {type(error).__name__}: {error}") from error

    def frames(self, number: int, count: int) -> list[bytes]:
        """RecordingError: ``IMAGE``: the file is missing, cannot be decoded, or ends too early."""
        if number not in self._places:
            raise self._of.error(Reason.IMAGE, f"episode {number} has no video", self._camera)
        path, first = self._places[number]
        if path != self._file or first < self._at:
            self._stream, self._file, self._at = self._decoded(path), path, 0
        out: list[bytes] = []
        try:
            while len(out) < count:
                image = next(self._stream)
                self._at += 1
                if self._at > first:
                    out.append(encode_jpeg(image.to_ndarray(format="rgb24"), _VIDEO_QUALITY))
        except (StopIteration, self._av.FFmpegError) as error:
            text = f"{path} ends, or cannot be decoded, at frame {self._at} of {first + count} ({error})"
            raise self._of.error(Reason.IMAGE, text, self._camera) from error
        return out

    def _decoded(self, path: Path) -> Iterator[Any]:
        with self._av.open(str(path)) as container:
            yield from container.decode(video=0)
