# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what they hold, atomic replacement, damage, a full disk."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from refusals import refused

from erl_vlm_ros.common.errors import Code
from erl_vlm_ros.data import checkpoint
from erl_vlm_ros.data.checkpoint import CheckpointError, load_state, restore_rng, rng_state, save_state


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    elif isinstance(a, (torch.Tensor, np.ndarray)):
        assert a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    else:
        assert a == b


STATE = {
    "tensors": {
        "w": torch.randn(3, 4).T,
        "scalar": torch.tensor(2.5),
        "mask": torch.tensor([True, False]),
        "state": torch.arange(9, dtype=torch.uint8),
    },
    "arrays": [np.arange(6).reshape(2, 3)[:, ::2], np.zeros((0, 3), np.float32), np.array(1.5)],
    "plain": [None, True, 3, 2**127, -1.25, float("inf"), "text\nπ", (1, (2,)), [], {}],
    "bytes": {"jpeg": b"\x00\xff", "none": b""},
    0: {1: "integer keys, as optimisers have"},
    "$": {"$": "tensor", "v": 0},
}


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "learner.safetensors"
    save_state(path, STATE, "learner")
    loaded = load_state(path, "learner")
    assert_same(loaded, STATE)
    loaded["tensors"]["w"].zero_()  # fresh memory that may be written to
    assert_same(load_state(path, "learner"), STATE)
    assert os.listdir(path.parent) == ["learner.safetensors"]


def test_numpy_generator_round_trip(tmp_path):
    rng = np.random.default_rng(5)
    rng.integers(10, size=3, dtype=np.uint32)
    save_state(tmp_path / "r", {"rng": rng_state(rng)}, "k")
    copy = np.random.default_rng(0)
    restore_rng(copy, load_state(tmp_path / "r", "k")["rng"])
    assert (rng.normal(size=5) == copy.normal(size=5)).all()


def test_wrong_kind_schema_or_file(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    with refused(CheckpointError, code=Code.MISSING_FILE, file=path):
        load_state(path, "a")
    save_state(path, {}, "a")
    with refused(CheckpointError, parameter="kind", code=Code.DOES_NOT_FIT, file=path):
        load_state(path, "b")
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    with refused(CheckpointError, code=Code.OTHER_VERSION, file=path):
        load_state(path, "a")
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2)}, path)
    with refused(CheckpointError, parameter="structure", code=Code.UNREADABLE, file=path):
        load_state(path, "a")


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "flip"])
def test_damaged_files_are_named_and_never_half_loaded(tmp_path, damage):
    path = tmp_path / "c.safetensors"
    save_state(path, {"w": np.arange(1000.0)}, "a")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1 if damage == "flip" else 0
    path.write_bytes({"cut": data[:-100], "empty": b"", "garbage": b"\x01" * 500, "flip": data}[damage])
    with refused(CheckpointError, code=Code.UNREADABLE, file=path):
        load_state(path, "a")


def test_no_silent_conversion():
    for value in (object(), {1.5: 0}, {1, 2}, np.array(["a"]), np.array([1j])):
        with refused(TypeError, shows="state.x"):
            save_state("/nonexistent/c", {"x": value}, "a")


def test_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    save_state(path, {"n": 1}, "a")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with refused(CheckpointError, code=Code.NOT_WRITTEN, file=path, shows=os.strerror(errno.ENOSPC)):
        save_state(path, {"n": 2}, "a")
    assert load_state(path, "a") == {"n": 1} and os.listdir(tmp_path) == ["c.safetensors"]


def test_a_write_that_fails_half_way_leaves_the_previous_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    save_state(path, {"n": 1}, "a")
    # A file size limit fails the write system call after 64 kB, as a full disk does.
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from erl_vlm_ros.data.checkpoint import CheckpointError, save_state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n    save_state(sys.argv[1], {'w': np.zeros(100000)}, 'a')\n"
        "except CheckpointError as error:\n    print(error); sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 3 and "could not write checkpoint" in done.stdout, done.stderr
    assert load_state(path, "a") == {"n": 1} and os.listdir(tmp_path) == ["c.safetensors"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(CheckpointError, code=Code.NOT_WRITTEN, file=tmp_path / "file" / "c.safetensors"):
        save_state(tmp_path / "file" / "c.safetensors", {}, "a")
