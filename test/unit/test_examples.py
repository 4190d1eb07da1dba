# SPDX-License-Identifier: Apache-2.0
"""The scripts in examples/ run as their docstrings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name, *arguments):
    """What a script prints."""
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Three images, from dark to bright."""
    (tmp_path / "images").mkdir()
    for i, value in enumerate((10, 120, 250)):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), np.full((64, 64, 3), value, np.uint8))
    return tmp_path / "images"


def test_a_teacher_of_ones_own(folder):
    out = example("write_a_teacher.py", folder).splitlines()
    assert out[:3] == ["0.jpg: Bad", "1.jpg: Average", "2.jpg: Good"]


@pytest.mark.slow
def test_a_folder_is_rated(folder, tmp_path):
    with StandinServer(Answerer(AnswererConfig())) as server:
        ask = (folder, "--base-url", server.base_url, "--model", "stand-in", "--ledger", tmp_path / "l.sqlite")
        out = example("rate_a_folder.py", *ask)
        assert len(out.splitlines()) == 3 and out == example("rate_a_folder.py", *ask)


@pytest.mark.slow
def test_train_then_load_the_policy_and_read_the_episodes(tmp_path):
    example("train_in_process.py", "--steps", 320, "--warmup", 200, "--out", tmp_path)
    assert "of 1 episodes succeeded" in example("load_a_policy.py", tmp_path / "policy.bundle", "--episodes", 1)
    out = example("read_episodes.py", tmp_path, "--images", tmp_path / "last")
    assert len(out.splitlines()) == len(list((tmp_path / "last").glob("*.jpg"))) > 2
