# SPDX-License-Identifier: Apache-2.0
"""Wrong input through the real graph: one clear error that names what and where, non-zero, no data lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from system_helpers import command, environment, quick_settings

from erl_vlm_ros.data.checkpoint import load_state

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
CHECKPOINTS = ("learner", "reward_trainer", "policy_controller")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run that has learned; copy it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    settings = {"learner.warmup_steps": 100, "learner.max_warmup_steps": 100, "learner.first_ratings": 15}
    settings |= {"policy_controller.eval_every": 0, "policy_controller.final_eval_episodes": 0}
    call = command("run", "train_sim", "--out", folder, "--max-steps", 150, "--headless", *quick_settings(**settings))
    subprocess.run(call, env=environment(), stdin=subprocess.DEVNULL, timeout=240, check=True)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def failed(done, *words):
    assert done.returncode not in (0, None)
    said = done.stdout + done.stderr
    for word in words:
        assert word in said, said[-3000:]
    assert "Traceback" not in said
    told = [line for line in done.stderr.splitlines() if line.strip().startswith("erl_vlm_ros: ")]
    assert len(told) == 1, said[-3000:]


def test_unreachable_endpoint(erl_vlm, tmp_path):
    done = erl_vlm(
        "run", "train_sim", "--out", tmp_path / "run", "--headless",
        "--set", "vlm_rater.base_url=http://127.0.0.1:9/v1", status=None,
    )  # fmt: skip
    failed(done, "vlm_rater", "base_url", "http://127.0.0.1:9/v1")


def test_missing_key_variable(erl_vlm, tmp_path):
    done = erl_vlm(
        "run", "train_sim", "--out", tmp_path / "run", "--headless",
        "--set", "vlm_rater.api_key_env=NO_SUCH_KEY_SET", status=None,
    )  # fmt: skip
    failed(done, "vlm_rater", "NO_SUCH_KEY_SET")


@pytest.mark.parametrize(
    "node, name, cut",
    [(node, f"checkpoint/{node}.safetensors", False) for node in CHECKPOINTS]
    + [("learner", "checkpoint/learner.safetensors", True)]
    + [("monitor", "checkpoint/monitor.json", False), ("vlm_rater", "ledger.sqlite", True)],
)
def test_damaged_file(erl_vlm, run, node, name, cut):
    file = run / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    if cut:
        del content[len(content) // 2 :]
    file.write_bytes(content)
    done = erl_vlm("run", "train_sim", "--resume", run, "--max-steps", 250, "--headless", status=None)
    failed(done, node, str(file))
    assert file.read_bytes() == bytes(content)  # not overwritten by the failed run
    for other in CHECKPOINTS:
        if other != node:
            load_state(run / "checkpoint" / f"{other}.safetensors", other)


def test_full_disk(erl_vlm, run):
    """Writing to /dev/full fails as on a full disk: the checkpoint's temporary file is led there."""
    os.symlink("/dev/full", run / "checkpoint" / ".learner.safetensors.tmp")
    resume = ("run", "train_sim", "--resume", run, "--max-steps")
    done = erl_vlm(*resume, 250, "--headless", "--set", "learner.checkpoint_every=50", status=None)
    failed(done, "learner", str(run / "checkpoint" / "learner.safetensors"), "No space left on device")
    erl_vlm(*resume, 250, "--headless")
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["state"], summary["env_steps"]) == ("finished", 250)
    assert summary["ratings_valid"] == sum(summary["rating_mix"]) >= 15
