# SPDX-License-Identifier: Apache-2.0
"""Smoke run of the benchmark in which SAC goes on from what IQL learned from recordings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "takeover.py"
if not SCRIPT.is_file():
    pytest.skip("needs the checkout", allow_module_level=True)


@pytest.mark.slow
def test_both_algorithms_go_on_from_what_iql_learned():
    small = ["--episodes", "8", "--updates", "20", "--steps", "50", "--eval-episodes", "1"]
    command = [sys.executable, str(SCRIPT), "--seeds", "1", "--algorithms", "iql", "sac", *small]
    done = subprocess.run([*command, "--set", "offline_updates=30"], capture_output=True, text=True, check=True)
    iql, sac = (json.loads(line) for line in done.stdout.splitlines())
    assert (iql["algorithm"], sac["algorithm"], sac["set"]) == ("iql", "sac", {"offline_updates": 30})
    assert iql["steps"] == sac["steps"] == [0]  # the next evaluation would come after 500
    assert iql["success_rate"] == sac["success_rate"]
