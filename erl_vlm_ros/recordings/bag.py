# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 recording (MCAP or SQLite) without a ROS installation: the extra ``bag`` reads it, a message at a time."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.bag import is_bag
from erl_vlm_ros.recordings.problems import Reason, RecordingError

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_MEND = {".mcap": "`mcap recover FILE -o NEW` keeps what is whole", ".db3": "`ros2 bag reindex` may mend it"}


def find_bags(paths: Iterable[str | Path]) -> list[Path]:
    """The recordings at ``paths``, each a bag or a folder of bags at any depth, sorted within a folder.

    Raises:
        RecordingError: ``NO_BAG``: a path that is none of that, or named twice.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        bags = [path] if path.exists() and is_bag(path) else sorted(_below(path)) if path.is_dir() else []
        if not bags:
            what = "no rosbag2 recording is in it" if path.is_dir() else "no such recording"
            raise RecordingError(
                Reason.NO_BAG, f"{path}: {what} (a folder with metadata.yaml, .mcap or .db3)", file=str(path)
            )
        twice = [bag for bag in bags if bag in found]
        if twice:
            raise RecordingError(Reason.NO_BAG, f"{twice[0]} is named twice", file=str(twice[0]))
        found += bags
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if is_bag(path):
                yield path
            else:
                yield from _below(path)


class Bag:
    """Use as a context. ``topics``: name -> type of its messages."""

    def __init__(self, path: Path):
        """``path``: a folder with a bag, or its .mcap or .db3 file. ConfigError: `rosbags` is missing."""
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        except ImportError:
            remedy = "pip install 'erl_vlm_ros[bag]'"
            text = f"{path}: reading a bag needs the package rosbags: {remedy}"
            raise ConfigError(text, code=Code.MISSING_PACKAGE, file=str(path), remedy=remedy) from None
        self.path, self.topics = path, dict[str, str]()
        self._file = _only_file(path)
        try:
            self._reader = AnyReader([self._file], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        except Exception as error:  # whatever a damaged file does to the libraries beneath
            raise self._unreadable(error) from error

    def __enter__(self) -> Bag:
        """RecordingError: ``TRUNCATED`` or ``UNREADABLE``."""
        try:
            self._reader.open()
        except Exception as error:  # whatever a damaged file does to the libraries beneath
            raise self._unreadable(error) from error
        self.topics = {connection.topic: connection.msgtype for connection in self._reader.connections}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def count(self, topic: str) -> int:
        """How many messages the topic has."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    @property
    def began_ns(self) -> int:
        """When its first message was received, ns."""
        return self._reader.start_time

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """(topic, ns at which it was received, CDR) of every message of ``topics``, in the order received.

        Raises:
            RecordingError: ``TRUNCATED`` or ``UNREADABLE``.
        """
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        try:
            for connection, received_ns, raw in self._reader.messages(connections=connections):
                yield connection.topic, received_ns, raw
        except Exception as error:  # whatever a damaged file does to the libraries beneath
            raise self._unreadable(error) from error

    def read(self, topic: str, raw: bytes) -> Any:
        """A message out of its CDR. RecordingError: ``UNREADABLE``."""
        try:
            return self._reader.deserialize(raw, self.topics[topic])
        except Exception as error:
            text = f"{self.path}: a message on {topic} cannot be read: {error}"
            raise RecordingError(Reason.UNREADABLE, text, topic=topic, file=str(self.path)) from error

    def header_ns(self, topic: str, raw: bytes) -> int:
        """Stamp in ns of a message that begins with a std_msgs/Header, straight from its CDR; 0 where it was left out.
        RecordingError: ``UNREADABLE``."""
        try:
            sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
        except (struct.error, IndexError) as error:
            text = f"{self.path}: a message on {topic} has {len(raw)} bytes"
            raise RecordingError(Reason.UNREADABLE, text, topic=topic, file=str(self.path)) from error
        return sec * 10**9 + nanosec

    def _unreadable(self, error: BaseException) -> RecordingError:
        if isinstance(error, RecordingError):
            return error
        for file in _files(self.path):
            if _cut_off(file):
                return RecordingError(
                    Reason.TRUNCATED, f"{file} is cut off ({error}); {_MEND[file.suffix]}", file=str(file)
                )
        if self.path.is_dir() and not (self.path / "metadata.yaml").is_file():
            return RecordingError(
                Reason.TRUNCATED,
                f"{self.path} has no metadata.yaml: `ros2 bag reindex` writes one",
                file=str(self.path),
            )
        return RecordingError(Reason.UNREADABLE, f"{self.path} cannot be read as a bag: {error}", file=str(self.path))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted((*path.glob("*.mcap"), *path.glob("*.db3")))


def _only_file(path: Path) -> Path:
    """What to open: the one file of a folder without metadata.yaml, for which a recorder did not live long enough."""
    files = _files(path)
    return files[0] if path.is_dir() and not (path / "metadata.yaml").is_file() and len(files) == 1 else path


def _cut_off(file: Path) -> bool:
    """Whether a file lacks its end."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(32)
        if file.suffix == ".mcap":
            stream.seek(max(size - len(_MCAP_MAGIC), 0))
            return stream.read() != _MCAP_MAGIC
    if len(head) < 32:
        return True
    page, pages = struct.unpack_from(">H", head, 16)[0], struct.unpack_from(">I", head, 28)[0]
    return size < pages * (65536 if page == 1 else page)
