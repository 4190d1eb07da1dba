# SPDX-License-Identifier: Apache-2.0
"""Wrong input through the real graph: one clear error that names what and where, non-zero, no data lost."""

from __future__ import annotations

import pytest
from system_helpers import quick_settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def failed(done, *words):
    assert done.returncode not in (0, None)
    said = done.stdout + done.stderr
    for word in words:
        assert word in said, said[-3000:]


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


def test_corrupt_checkpoint(erl_vlm, tmp_path):
    folder = tmp_path / "run"
    erl_vlm("run", "train_sim", "--out", folder, "--max-steps", 100, "--headless", *quick_settings())
    file = folder / "checkpoint" / "sac_learner.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    done = erl_vlm("run", "train_sim", "--resume", folder, "--max-steps", 200, "--headless", status=None)
    failed(done, "sac_learner", str(file))
    assert file.read_bytes() == bytes(content)  # not overwritten by the failed run
