# SPDX-License-Identifier: Apache-2.0
"""What the rater's benchmarks share: segments with a known class, and the endpoint as a subprocess."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from rater_endpoint import truth

from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment

_JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8))[1].tobytes()


def segment(index: int) -> Segment:
    """A segment of one 128 px image that no other has: the same image with its own comment."""
    note = f"image {index}".encode()
    comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
    jpeg = _JPEG[:2] + comment + _JPEG[2:]
    return Segment(f"e0_t{index}_h1", [jpeg], np.zeros((1, 10)), np.zeros((1, 3)), np.array([index]))


def batch(start: int, count: int, round_: int = 0) -> QueryBatch:
    """Segments ``start`` to ``start + count``."""
    return QueryBatch.of(round_, [segment(i) for i in range(start, start + count)])


def right(one: Segment) -> int:
    """The class that the endpoint sees in a segment."""
    return truth(base64.b64encode(one.jpegs[-1]).decode())


class EndpointProcess:
    """The endpoint on its own, as a context manager; ``url`` is its address."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("rater_endpoint.py")), *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def __enter__(self) -> EndpointProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def read_log(path: Path) -> list[dict]:
    """The endpoint's log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
