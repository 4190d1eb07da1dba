# SPDX-License-Identifier: Apache-2.0
"""Datasets: written, shown, read as a source, and refused where they are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from factories import make_episode

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.dataset import INFO, DatasetSource, figures, write_dataset
from erl_vlm_ros.data.sources import make_source


def test_a_dataset_is_a_source(tmp_path):
    episodes = [make_episode(i + 7, steps=5 + i, side=16, success=bool(i)) for i in range(3)]
    assert write_dataset(tmp_path / "d", "drawer_open", episodes, "test") == 3
    source = make_source("dataset", str(tmp_path / "d"), False)
    found = [source.poll().episode for _ in range(3)]
    assert source.exhausted and source.poll() is None
    assert [(e.index, e.steps, e.success) for e in found] == [(0, 5, False), (1, 6, True), (2, 7, True)]
    np.testing.assert_array_equal(found[1].observations, episodes[1].observations)
    counts = figures(found)
    assert (counts["episodes"], counts["steps"], counts["succeeded"], counts["judged"]) == (3, 18, 2, 3)


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        DatasetSource(str(tmp_path), False)
    with pytest.raises(ConfigError):
        write_dataset(tmp_path / "empty", "t", [], "test")
    write_dataset(tmp_path / "d", "t", [make_episode(0, 5, side=16)], "test")
    with pytest.raises(ConfigError):
        write_dataset(tmp_path / "d", "t", [make_episode(0, 5, side=16)], "test")  # not empty
    with pytest.raises(ConfigError):
        DatasetSource(str(tmp_path / "d"), True)  # no rewards
    (tmp_path / "d" / "episode_00000.bundle").write_bytes(b"\0" * 40)
    with pytest.raises(ConfigError):
        DatasetSource(str(tmp_path / "d"), False).poll()
    for wrong in ("[]", "{", json.dumps({"format": "x"})):
        (tmp_path / "d" / INFO).write_text(wrong)
        with pytest.raises(ConfigError):
            DatasetSource(str(tmp_path / "d"), False)


def test_collect_and_show(tmp_path, capsys):
    folder = str(tmp_path / "shown")
    assert main(["dataset", "collect", "--episodes", "2", "--noise", "0", "--out", folder]) == 0
    assert main(["dataset", "show", folder]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["episodes"], told["succeeded"], told["task"], told["control_hz"]) == (2, 2, "drawer_open", 10.0)
    assert (tmp_path / "shown" / "contact_sheet.png").stat().st_size > 1000
    assert main(["dataset", "from-run", folder, "--out", str(tmp_path / "x")]) != 0  # no run
