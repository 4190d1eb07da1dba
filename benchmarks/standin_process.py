# SPDX-License-Identifier: Apache-2.0
"""What the learning benchmarks share: the stand-in server as a process, and ``node.param=value`` overrides."""

from __future__ import annotations

import json
import subprocess
import sys


class StandinProcess:
    """The stand-in server in a process of its own; entering gives its base URL."""

    def __init__(self, seed: int, error_rate: float, systematic_rate: float, *more: str) -> None:
        self.command = [
            sys.executable, "-m", "erl_vlm_ros.standin.vlm", "--port", "0", "--seed", str(seed), "--error-rate",
            str(error_rate), "--systematic-rate", str(systematic_rate), *more,
        ]  # fmt: skip

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return f"http://127.0.0.1:{json.loads(self.process.stdout.readline())['port']}/v1"

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)


def overrides(pairs: list[str]) -> dict[str, dict]:
    """``node.param=value`` pairs as {node: {param: value}}; values are JSON where they parse."""
    out: dict[str, dict] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        node, _, name = key.partition(".")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        out.setdefault(node, {})[name] = value
    return out
