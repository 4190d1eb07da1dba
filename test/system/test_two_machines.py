# SPDX-License-Identifier: Apache-2.0
"""A whole run across two network namespaces, whose cable is pulled in the middle of an episode.

Minutes each, so not in the default suite: ERL_VLM_TWO_MACHINES=1 pytest test/system/test_two_machines.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "two_machines.py"
pytestmark = [
    pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("ERL_VLM_TWO_MACHINES"), reason="minutes: set ERL_VLM_TWO_MACHINES=1"),
    pytest.mark.skipif(not BENCHMARK.is_file(), reason="needs the checkout"),
]  # fmt: skip


def measured(*arguments):
    done = subprocess.run([sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, timeout=500)
    if "ip netns" in done.stderr or "needs" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("graph", ["train_sim", "train_real"])
def test_a_pulled_plug_costs_time_alone(graph):
    found = measured("--graph", graph, "--steps", "300", "--cut", "10", "--cut-at", "150")
    assert found["status"] == {"robot": 0, "workstation": 0}
    assert (found["state"], found["env_steps"]) == ("finished", 300)
    assert found["steps_again_after_s"] < 60
    if graph == "train_real":  # in lock-step simulated time stands while nothing is decided
        assert found["cut"]["top_speed"] <= 1.0 and found["cut"]["speed_at_its_end"] < 0.05
        assert found["cut"]["armed_all_the_time"]


def test_five_percent_loss_and_a_delay_of_50_ms_are_borne():
    found = measured("--steps", "300", "--loss", "5", "--delay", "50")
    assert found["status"] == {"robot": 0, "workstation": 0} and found["env_steps"] == 300
