# SPDX-License-Identifier: Apache-2.0
"""Datasets: written, shown, read as a source, and refused where they are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from factories import make_episode, make_segment

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.dataset import INFO, DatasetSource, write_dataset
from erl_vlm_ros.data.dataset_view import contact_sheet, figures, show
from erl_vlm_ros.data.notes import Notes
from erl_vlm_ros.data.query import Query
from erl_vlm_ros.data.sources import make_source
from erl_vlm_ros.feedback.ledger.by_frame import ratings_by_frame
from erl_vlm_ros.feedback.ledger.ledger import Ledger


def test_a_dataset_is_a_source(tmp_path):
    episodes = [make_episode(i + 7, steps=5 + i, side=16, success=bool(i)) for i in range(3)]
    assert write_dataset(tmp_path / "d", "drawer_open", episodes, "test") == 3
    source = make_source("dataset", str(tmp_path / "d"), False)
    found = [source.poll().episode for _ in range(3)]
    assert source.exhausted and source.poll() is None
    assert [(e.index, e.steps, e.success) for e in found] == [(0, 5, False), (1, 6, True), (2, 7, True)]
    np.testing.assert_array_equal(found[1].observations, episodes[1].observations)
    counts = figures((episode, None) for episode in found)
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


@pytest.mark.parametrize("option", [["--noise", "-1"], ["--noise", "1.5"], ["--noise", "nan"], ["--episodes", "0"]])
def test_an_option_of_collect_out_of_range_makes_nothing(option, tmp_path):
    assert main(["dataset", "collect", *option, "--out", str(tmp_path / "d")]) != 0
    assert not (tmp_path / "d").exists()


def noted(steps, rewards=True):
    ratings = np.full(steps + 1, -1)
    ratings[[1, 3, 4]] = 0, 2, 2
    return Notes(np.arange(steps) if rewards else None, ratings, 3, "a model", "run x")


def test_rewards_and_ratings_go_with_episodes(tmp_path):
    episodes = [make_episode(i, 5 + i, side=16) for i in range(2)]
    write_dataset(tmp_path / "d", "t", [(e, noted(e.steps)) for e in episodes], "test")
    source = DatasetSource(str(tmp_path / "d"), True)
    np.testing.assert_array_equal(source.poll().rewards, np.arange(5))
    (_, notes), *_ = DatasetSource(str(tmp_path / "d"), False).annotated()
    assert (notes.n_classes, notes.rater, notes.reward_model) == (3, "a model", "run x")
    np.testing.assert_array_equal(notes.ratings, noted(5).ratings)
    told = show(tmp_path / "d")
    assert (told["rated_frames"], told["rating_mix"], told["episodes_with_rewards"]) == (6, [2, 0, 4], 2)
    (tmp_path / "d" / "episode_00001.notes.bundle").write_bytes(b"x" * 50)
    with pytest.raises(ConfigError):
        list(DatasetSource(str(tmp_path / "d"), True).annotated())


def test_rewards_of_some_episodes_are_not_given(tmp_path):
    episodes = [make_episode(i, 5, side=16) for i in range(2)]
    write_dataset(tmp_path / "d", "t", [(episodes[0], noted(5)), (episodes[1], noted(5, rewards=False))], "test")
    with pytest.raises(ConfigError):
        DatasetSource(str(tmp_path / "d"), True)


def test_notes_of_another_episode_or_class_are_refused(tmp_path):
    with pytest.raises(ConfigError):
        write_dataset(tmp_path / "d", "t", [(make_episode(0, 6, side=16), noted(5))], "test")
    for wrong in ({"rewards": [0.0, np.nan]}, {"ratings": [0, 3], "n_classes": 3}, {"ratings": [-2]}):
        with pytest.raises(ValueError):
            Notes(**{key: np.array(value) if key != "n_classes" else value for key, value in wrong.items()})


def test_a_number_that_is_not_finite_is_named_by_its_row():
    actions = np.zeros((6, 3), np.float32)
    actions[4, 1] = np.nan
    with pytest.raises(ValueError) as error:
        make_episode(0, 6, side=16, actions=actions)
    assert "row 4 of 6" in str(error.value)


def test_a_contact_sheet_has_a_row_an_episode(tmp_path):
    episodes = [make_episode(i, 6, side=16, success=[True, False, None][i % 3]) for i in range(20)]
    write_dataset(tmp_path / "d", "t", episodes, "test")
    sheet = contact_sheet(tmp_path / "d", columns=4, rows=5, side=40)
    assert sheet.shape == (5 * (40 + 16), 160, 3)
    assert contact_sheet(tmp_path / "d", columns=4, rows=50, side=40).shape[0] == 20 * 56


def test_ratings_of_a_ledger_by_frame(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for name, rating in (("e3_t7_h1", 2), ("e3_t7_h1", 1), ("e4_t0_h1", -1), ("other", 0), ("e5_t2_h2", 0)):
            segment = make_segment(name, 1)
            row = (f"{name}{rating}", Query(segment), 0, "endpoint", "t", 3, "model", {}, {}, ["a", "b", "c"])
            ledger.add_rating(ledger.add_query(*row).result(), rating, "").result()
    assert ratings_by_frame(tmp_path / "ledger.sqlite") == ({(3, 7): 1, (5, 2): 0}, 3, "model")
    (tmp_path / "bad").write_bytes(b"no ledger" * 200)
    with pytest.raises(ConfigError):
        ratings_by_frame(tmp_path / "bad")


def test_a_pair_of_unequal_lengths_names_both():
    with pytest.raises(ValueError) as error:
        Query(make_segment("e1_t5_h2", 2), make_segment("e2_t5_h3", 3))
    assert all(word in str(error.value) for word in ("e1_t5_h2", "e2_t5_h3", "2 frames", "3 frames"))


def test_after_an_error_nothing_is_left(tmp_path):
    def broken():
        yield make_episode(0, 5, side=16)
        raise RuntimeError

    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(RuntimeError):
            write_dataset(tmp_path / name, "t", broken(), "test")
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and not list((tmp_path / "there").iterdir())
    assert write_dataset(tmp_path / "there", "t", [make_episode(0, 5, side=16)], "test") == 1
