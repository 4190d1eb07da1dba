# SPDX-License-Identifier: Apache-2.0
"""The run directory refuses what would lose data, and says what to do."""

from __future__ import annotations

import shutil

import pytest
from refusals import refused

from erl_vlm_ros.common import rundir
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import RunDirectory, atomic_write, load_run, read_json, save_run


def test_new_then_locked_then_used(tmp_path):
    out = tmp_path / "run"
    with RunDirectory(out) as run:
        assert all((run.path / name).is_dir() for name in ("config", "checkpoint", "logs"))
        with refused(ConfigError, code=Code.IN_USE, file=out):
            RunDirectory(out)
        save_run(run.path, {"seed": 3})
    with refused(ConfigError, parameter="out", code=Code.EXISTS, file=out, shows="--resume"):
        RunDirectory(out)
    with RunDirectory(out, resume=True):
        assert load_run(out) == {"seed": 3}
        with refused(ConfigError, code=Code.IN_USE, file=out):
            RunDirectory(out, resume=True)


@pytest.mark.parametrize("trace", ["checkpoint/learner.safetensors", "summary.json", "ledger.sqlite", "metrics.csv"])
def test_any_trace_of_a_run_is_kept(tmp_path, trace):
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).write_text("precious")
    with refused(ConfigError, parameter="out", code=Code.EXISTS, file=tmp_path, shows=trace.split("/")[0]):
        RunDirectory(tmp_path)
    assert (tmp_path / trace).read_text() == "precious"


def test_an_empty_folder_may_be_used_again(tmp_path):
    RunDirectory(tmp_path / "a").close()
    RunDirectory(tmp_path / "a").close()


def test_nothing_to_resume(tmp_path):
    with refused(ConfigError, parameter="resume", code=Code.MISSING_FILE, file=tmp_path / "absent" / rundir.RUN_FILE):
        RunDirectory(tmp_path / "absent", resume=True)
    assert not (tmp_path / "absent").exists()


def test_full_disk(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(rundir.shutil, "disk_usage", lambda _: usage)
    with refused(ConfigError, parameter="out", code=Code.NOT_WRITTEN, file=tmp_path / "run", shows="10 MB"):
        RunDirectory(tmp_path / "run")


def test_a_path_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(ConfigError, parameter="out", code=Code.NOT_WRITTEN, file=tmp_path / "file"):
        RunDirectory(tmp_path / "file")


def test_damaged_files_are_named(tmp_path):
    file = tmp_path / "x.json"
    for text in ("{", "[]"):
        file.write_text(text)
        with refused(ConfigError, code=Code.UNREADABLE, file=file):
            read_json(file)
    with refused(ConfigError, code=Code.MISSING_FILE, file=tmp_path / "y.json"):
        read_json(tmp_path / "y.json", "gone")


def test_atomic_write_leaves_the_old_content_on_failure(tmp_path, monkeypatch):
    file = tmp_path / "x"
    atomic_write(file, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", full)
    with refused(OSError, errno=28, filename=file):
        atomic_write(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
