# SPDX-License-Identifier: Apache-2.0
import numpy as np
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.selection import Candidates, SelectionConfig, by_bins, novel, select


def candidates(n=500, seed=0, rated=()):
    rng = np.random.default_rng(seed)
    mask = np.zeros(n, bool)
    mask[list(rated)] = True
    mean = np.r_[np.full(n - 10, 0.1), np.linspace(0.5, 1, 10)]
    return Candidates(rng.normal(size=(n, 5)).astype(np.float32), mask, mean, rng.random(n) * 0.01, np.zeros(n))


def test_a_round_is_unique_and_unrated():
    chosen = select(candidates(rated=range(0, 500, 2)), 60, SelectionConfig(), np.random.default_rng(1))
    assert len(set(chosen.tolist())) == 60
    assert (chosen % 2 == 1).all()


def test_same_generator_same_choice():
    picks = [select(candidates(), 30, SelectionConfig(), np.random.default_rng(3)).tolist() for _ in range(2)]
    assert picks[0] == picks[1]


def test_first_round_is_novelty_and_finds_the_rare_cluster():
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(1000, 4)).astype(np.float32)
    observations[:5, 0] += 60  # five frames where something moved
    chosen = select(Candidates(observations, np.zeros(1000, bool)), 20, SelectionConfig(), rng)
    assert (chosen < 5).sum() >= 2  # uniform choice would expect 0.1


def test_bins_give_rare_high_predictions_their_share():
    c = candidates()
    chosen = by_bins(c.mean, ~c.rated, 12, 6, np.random.default_rng(0))
    assert (c.mean[chosen] > 0.4).sum() >= 6


def test_fewer_frames_than_wanted_gives_all_of_them():
    assert sorted(select(candidates(20, rated=range(5)), 100, SelectionConfig(), np.random.default_rng(0))) == list(
        range(5, 20)
    )
    assert len(select(candidates(14, rated=range(14)), 10, SelectionConfig(), np.random.default_rng(0))) == 0


def test_identical_observations_do_not_break_novelty():
    chosen = novel(np.zeros((30, 3), np.float32), np.zeros(30, bool), 5, SelectionConfig(), np.random.default_rng(0))
    assert len(chosen) >= 1


def test_shares_beyond_one_are_refused():
    with refused(ConfigError, parameter="learner.selection", code=Code.DOES_NOT_FIT):
        SelectionConfig(bins_share=0.9, novelty_share=0.3)
