# SPDX-License-Identifier: Apache-2.0
"""The same seed gives the same run in lock-step, through the whole graph and in one process, to the last bit.

Two runs on this machine are compared. No record is committed: sums of floats and rendered images differ between
machines, and what does not depend on them (names, dtypes, shapes) is the bundles' own test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from lockstep import graph  # noqa: E402
from lockstep.compare import NOT_SEEN, compare  # noqa: E402

STEPS = 200  # 4 episodes: rounds after the first three, the fourth by the learned policy
QUICK = {
    "reward_trainer.trunk.first_iterations": 60,
    "reward_trainer.trunk.iterations": 20,
    "policy_controller.final_eval_episodes": 10,  # the last updates are done meanwhile
}


def test_the_graph_gives_the_same_run_again():
    first, again = (graph.record("drawer_open", 5, STEPS, QUICK) for _ in range(2))
    equal, lines = compare(first, again, common=False)
    assert equal, "\n".join(lines)
    assert list(first["episodes"]) == ["0", "1", "2", "3"]
    assert all({"observations", "actions", "jpeg"} <= set(item["arrays"]) for item in first["episodes"].values())
    assert [len(first["labels"][r]["values"].split()) for r in "012"] == [20, 10, 10]
    # Each topic of these keeps its newest message only: on a busy machine the recorder may miss one of them.
    assert 1 <= len(first["reward_models"]) <= 3 and 1 <= len(first["buffer"]) <= 3
    actors = [item["actor"] for item in first["episodes"].values()]
    assert all(actor in ("none", NOT_SEEN) for actor in actors[:3]) and actors[3] != "none"
    assert len(first["evaluations"]) == 10 and first["summary"]["run"]["env_steps"] == STEPS
    for name in ("learner", "reward_trainer"):
        assert len(first["checkpoints"][name]) > 20, name


def test_one_process_gives_the_same_run_again_and_another_seed_another(tmp_path):
    def record(seed):
        out = tmp_path / "record.json"
        options = ["--parts", "local", "--task", "sweep_into", "--seed", seed, "--steps", STEPS, "--out", out, "--set"]
        options += [f"{name}={value}" for name, value in QUICK.items()]
        command = [sys.executable, BENCHMARKS / "lockstep_record.py", *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return json.loads(out.read_text())

    first, again, other = map(record, (5, 5, 6))
    equal, lines = compare(first, again, common=False)
    assert equal, "\n".join(lines)
    assert len(first["local_rounds"]) >= 3 and first["local_models"]
    equal, lines = compare(first, other, common=True)
    assert not equal and any("FIRST DIFFERENCE at local_rounds 0" in line for line in lines)
