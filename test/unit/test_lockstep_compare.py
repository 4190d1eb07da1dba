# SPDX-License-Identifier: Apache-2.0
"""Records of runs: fingerprints of bundles and checkpoints, and where two records differ first."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from lockstep import items  # noqa: E402
from lockstep.compare import NOT_SEEN, compare  # noqa: E402


def a_bundle(meta, **arrays):
    return save(arrays, metadata={"kind": "x", "schema": "1", "meta": json.dumps(meta)})


def a_record():
    episodes = {
        str(i): {"at": i, "arrays": items.fingerprints({"actions": np.full((2, 3), i, np.float32)}), "actor": "a"}
        for i in range(4)
    }
    labels = {"0": {"at": 2, "values": "0 1 4"}}
    return {"run": {"seed": 0}, "episodes": episodes, "labels": labels, "summary": {"run": {"success_rate": 0.5}}}


def test_a_bundle_is_read_without_the_package_and_old_names_are_the_new_ones():
    meta = {
        "run": "an id",
        "round": 3,
        "health": {"skill": 0.25, "train_seconds": 9.1},
        "ids": [f"e0_t{i}" for i in range(40)],
    }
    old = items.bundle(a_bundle(meta, ratings=np.array([0, 2, -1])))
    new = items.bundle(a_bundle(meta, labels=np.array([0, 2, -1])))
    assert old == new and old["values"] == "0 2 -1"
    assert old["meta"]["health.skill"] == 0.25 and not {"run", "health.train_seconds"} & set(old["meta"])
    assert old["meta"]["ids"].startswith("list [40] ")
    with pytest.raises(ValueError):
        items.bundle(b"no bundle")


@pytest.mark.parametrize(
    "changed",
    [np.zeros((2, 3), np.float64), np.zeros((3, 2), np.float32), np.full((2, 3), -0.0, np.float32)],
)
def test_a_fingerprint_tells_dtype_shape_and_every_bit(changed):
    assert items.fingerprint(changed) != items.fingerprint(np.zeros((2, 3), np.float32))


def test_a_checkpoint_is_listed_by_path(tmp_path):
    checkpoint = pytest.importorskip("erl_vlm_ros.data.checkpoint")
    state = {"replay": {"rewards": np.arange(3.0)}, "counters": {"updates": 7}, "jpeg": b"abc", 2: (1, None)}
    checkpoint.save_state(tmp_path / "x.safetensors", state, "x")
    found = items.checkpoint(tmp_path / "x.safetensors")
    assert found["replay.rewards"] == items.fingerprint(np.arange(3.0)) and found["counters.updates"] == 7
    assert found == items.state(state)


def test_the_first_difference_of_the_run_is_named():
    a, b = a_record(), a_record()
    assert compare(a, b, common=False)[0]
    b["summary"]["run"]["success_rate"] = 0.6
    b["episodes"]["3"]["arrays"]["actions"] = b["labels"]["0"]["values"] = "other"
    equal, lines = compare(a, b, common=True)
    assert not equal and "labels 0: values" in lines[0]  # before episode 3, though listed after it


def test_what_one_record_lacks_is_a_difference_unless_common():
    a, b = a_record(), a_record()
    b["episodes"]["2"]["arrays"]["extras"] = items.fingerprint(np.zeros(1))
    del b["episodes"]["3"]
    assert not compare(a, b, common=False)[0]
    equal, lines = compare(a, b, common=True)
    assert equal and any("A only" in line for line in lines) and any("B only" in line for line in lines)


def test_timing_and_missed_messages_are_no_difference():
    a, b = a_record(), a_record()
    a["episodes"]["1"]["not_compared"], b["episodes"]["1"]["not_compared"] = {"v": 1}, {"v": 2}
    b["episodes"]["2"]["actor"] = NOT_SEEN
    assert compare(a, b, common=False)[0]


def test_what_only_the_newest_message_tells_may_be_missed_but_not_differ():
    a, b = a_record(), a_record()
    a["reward_models"] = {"1": {"at": 2, "arrays": {"w": "x"}}, "2": {"at": 3, "arrays": {"w": "y"}}}
    b["reward_models"] = {"2": {"at": 3, "arrays": {"w": "y"}}}
    a["episodes"]["3"]["learned_reward"] = "z"
    assert compare(a, b, common=False)[0] and compare(b, a, common=False)[0]
    b["reward_models"]["2"]["arrays"]["w"] = "other"
    assert not compare(a, b, common=False)[0]


@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 1)])
def test_the_command_exits_1_for_a_difference(tmp_path, same, status):
    a = a_record()
    b = copy.deepcopy(a)
    if not same:
        b["episodes"]["1"]["actor"] = "b"
    for name, record in (("a", a), ("b", b)):
        (tmp_path / name).write_text(json.dumps(record))
    command = [sys.executable, str(BENCHMARKS / "lockstep_record.py"), "--compare", tmp_path / "a", tmp_path / "b"]
    assert subprocess.run(command, capture_output=True).returncode == status
