# SPDX-License-Identifier: Apache-2.0
"""The rater's benchmarks, small: a storm of faults and kill -9 with the endpoint's own bill, speed and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)


def run(name, *options):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=BENCHMARKS.parent)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_storm_of_faults_invents_loses_and_overspends_nothing():
    status, result = run("rater_faults", "--ratings", 80, "--kills", 0, "--timeout", 1.0, "--seed", 3)
    assert status == 0 and result["kept"], result
    storm, tight = result["storm"], result["tight_budget"]
    assert storm["ratings"] == 80 and storm["valid"] + sum(storm["no_rating"].values()) == 80
    assert sum(storm["faults"].values()) > 30 and storm["answers_in_ledger"] == storm["answers_delivered"] > 100
    assert tight["billed_usd"] <= tight["counted_usd"] <= tight["limit_usd"]


@pytest.mark.slow
def test_kill_9_loses_no_answer_and_pays_none_twice():
    status, result = run("rater_faults", "--ratings", 0, "--kills", 3, "--kill-ratings", 30)
    assert status == 0 and result["kept"], result
    kills = result["kills"]
    assert kills["ratings"] == 30 and kills["kills"] == kills["ledger_sound_after_kill"] == 3
    assert kills["answers_in_ledger"] == 60 and kills["asked_again_that_had_their_answer"] == 0
    assert kills["answered_again_after_kill"] <= kills["on_their_way_when_killed"]


@pytest.mark.slow
def test_speed_cpu_time_and_memory_are_measured():
    status, result = run(
        "rater_throughput", "--latency", 0.5, "--speed-ratings", 48, "--ratings", 200, "--memory-latency", 0.0
    )
    assert status == 0
    assert 4.0 < result["ratings_per_s"] <= result["ratings_per_s_possible"] == 16.0
    assert 0.0 < result["cpu_ms_per_rating"] < 40.0  # a busy machine; docs/ratings.md has the figures of a quiet one
    assert result["memory_ratings"] == 200 and result["rss_mb_at_end"] - result["rss_mb_after_warm_up"] < 15.0
