# SPDX-License-Identifier: Apache-2.0
"""View clusters and continuity: what keeps a cluster that is always misjudged from becoming the goal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import make_episode

from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.reward.configs import HeadConfig
from erl_vlm_ros.reward.continuity import ContinuityPenalty, Unrated
from erl_vlm_ros.reward.frames import FrameStore
from erl_vlm_ros.reward.heads import fit_heads
from erl_vlm_ros.reward.same_object import same_object_pairs
from erl_vlm_ros.reward.view_clusters import cluster_folds, importance, position_importance, view_clusters

NO_PAIRS = (np.zeros((0, 3), np.float32),) * 2


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_clusters_are_groups_of_near_inputs():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (6, 8))
    label = np.repeat(np.arange(6), [50, 10, 10, 10, 10, 10])
    x = (centres[label] + rng.normal(0, 0.1, (100, 8))).astype(np.float32)
    clusters = view_clusters(x, 3, 6, rng)
    assert len(np.unique(clusters)) == 6
    assert all(len(np.unique(clusters[label == k])) == 1 for k in range(6))
    weight = importance(clusters)
    sums = [weight[clusters == k].sum() for k in range(6)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    assert weight.mean() == pytest.approx(1.0)
    fold = cluster_folds(clusters, 3, rng)
    assert sorted(np.unique(fold)) == [0, 1, 2]
    assert all(len(np.unique(fold[clusters == k])) == 1 for k in range(6))


def test_equal_inputs_are_one_cluster():
    clusters = view_clusters(np.ones((20, 5), np.float32), 2, 8, np.random.default_rng(0))
    assert set(clusters) == {0}


def line(count, rng):
    """Inputs on a line 0..1 as three columns; the level rises from 0 to 4 along it."""
    t = rng.random(count)
    return np.stack([t, np.sin(3 * t), np.cos(3 * t)], 1).astype(np.float32), np.minimum((5 * t).astype(int), 4), t


@pytest.mark.slow
def test_an_overrated_cluster_is_held_down_by_continuity():
    rng = np.random.default_rng(1)
    x, rating, t = line(300, rng)
    spoilt = (t > 0.1) & (t < 0.2)  # always called the top class
    rating[spoilt] = 4
    steps = np.arange(0, 0.98, 0.02)
    before, after = (np.stack([s, np.sin(3 * s), np.cos(3 * s)], 1).astype(np.float32) for s in (steps, steps + 0.02))
    unrated = Unrated(before, after, before[:3], *NO_PAIRS)
    probe = np.stack([steps, np.sin(3 * steps), np.cos(3 * steps)], 1).astype(np.float32)
    inside = (steps > 0.12) & (steps < 0.18)
    level = {}
    for name, options in (("plain", {}), ("bound", {"jump": 0.3, "jump_weight": 20.0, "start_weight": 5.0})):
        heads, _ = fit_heads(x, rating, 5, HeadConfig(**options), 3, None, unrated, 1)
        level[name] = heads.probabilities(probe).mean(0) @ np.arange(5)
    assert level["plain"][inside].mean() > 3.0
    assert level["bound"][inside].mean() < level["plain"][inside].mean() - 1.0
    assert np.abs(np.diff(level["bound"])).max() < np.abs(np.diff(level["plain"])).max()
    assert level["bound"][-3:].mean() > 3.0  # the true top stays the top


def test_the_penalty_is_nothing_for_a_slow_rise_and_more_for_a_jump():
    before = np.arange(4, dtype=np.float32)[:, None]
    pairs = Unrated(before, before + 1, before[:1], before, before + 1)
    generator = torch.Generator().manual_seed(0)

    def levels(slope):
        """Logits whose expected class is slope * x."""

        def forward(inputs):
            at = (slope * inputs[..., 0]).clamp(0, 4)
            low = at.floor().long().clamp(max=3)
            share = torch.zeros(*at.shape, 5)
            share.scatter_(-1, low.unsqueeze(-1), (1 - (at - low)).unsqueeze(-1))
            share.scatter_(-1, (low + 1).unsqueeze(-1), (at - low).unsqueeze(-1))
            return (share + 1e-9).log()

        return forward

    penalty = ContinuityPenalty(pairs, torch.from_numpy, 5, 1.0, 1.0, 0.25, 0.0, 0.0, 64)
    assert float(penalty(levels(1.0), 2, generator)) == pytest.approx(0.0, abs=1e-6)
    assert float(penalty(levels(2.0), 2, generator)) > 0.5
    shown = Unrated(before, before, before + 3, *NO_PAIRS)
    starts = ContinuityPenalty(shown, torch.from_numpy, 5, 1.0, 0.0, 0.25, 1.0, 0.0, 64)
    assert float(starts(levels(1.0), 1, generator)) > 3.0  # levels 3 and 4 where 1 is allowed
    same = ContinuityPenalty(pairs, torch.from_numpy, 5, 1.0, 0.0, 0.25, 0.0, 2.0, 64)
    assert float(same(levels(1.0), 3, generator)) == pytest.approx(3 * 2.0, rel=1e-4)  # one class apart, three members


def test_pairs_show_the_object_in_one_place_and_rare_places_as_often_as_common_ones():
    rng = np.random.default_rng(4)
    objects = np.concatenate([rng.normal(0.5, 0.0005, (2000, 3)), rng.normal(0.3, 0.0005, (40, 3)), [[9.0, 9.0, 9.0]]])
    one, other = same_object_pairs(objects.astype(np.float32), 600, 0.01, rng)
    assert np.linalg.norm(objects[one] - objects[other], axis=1).max() < 0.01 and (one != other).all()
    assert 0.2 < np.mean((one >= 2000) & (one < 2040)) < 0.8 and not (one == 2040).any()  # it is alone
    for few, count in ((objects[:1], 10), (objects, 0)):
        assert len(same_object_pairs(few, count, 0.01, rng)[0]) == 0


def test_a_position_of_the_end_effector_counts_about_alike_however_often_it_was_rated():
    rng = np.random.default_rng(5)
    positions = np.concatenate([rng.normal(0.0, 0.01, (300, 3)), rng.normal(0.5, 0.01, (20, 3))])
    weight = position_importance(positions, 0.04)
    assert weight.mean() == pytest.approx(1.0) and weight.dtype == np.float32
    assert weight[:300].sum() == pytest.approx(weight[300:].sum(), rel=0.2)


@pytest.mark.slow
def test_an_overrated_position_of_the_end_effector_is_outvoted_where_the_object_says_otherwise():
    """Inputs: the object's place, then joints, position, width; the policy has the overrated place rated most often."""
    rng = np.random.default_rng(6)

    def views(count):
        place, position = rng.random(count), rng.random((count, 3)) * 0.3
        rest = np.zeros((count, 6)), position, np.zeros((count, 1))
        return np.concatenate([np.repeat(place[:, None], 3, 1), *rest], 1).astype(np.float32), place, position

    def overrated(position):
        return (position[:, 0] < 0.08) & (position[:, 1] < 0.15)

    x, place, position = views(250)
    more, there, positions = views(3000)
    again = np.flatnonzero(overrated(positions) & (there < 0.2))[:150]  # where the policy stands
    x, position = np.concatenate([x, more[again]]), np.concatenate([position, positions[again]])
    place = np.append(place, there[again])
    rating = np.minimum((5 * place).astype(int), 4)
    rating[overrated(position)] = 4
    probe, at, tool = views(1500)
    inside = overrated(tool) & (at < 0.3)
    one, other = same_object_pairs(np.repeat(at[:, None], 3, 1) * 0.2, 1000, 0.01, rng)
    empty = np.zeros((0, 13), np.float32)
    unrated = Unrated(empty, empty, empty, probe[one], probe[other])
    level = {}
    for name, options in (("plain", {}), ("bound", {"object_weight": 10.0, "bandwidth_m": 0.04})):
        heads, _ = fit_heads(x, rating, 5, HeadConfig(**options), 3, None, unrated, 10)
        level[name] = heads.probabilities(probe).mean(0) @ np.arange(5)
    assert level["plain"][inside].mean() > 2.5 > 2.0 > level["bound"][inside].mean()
    assert level["bound"][at > 0.9].mean() > level["bound"][at < 0.3].mean() + 0.8


def test_without_the_options_the_fit_is_as_before():
    rng = np.random.default_rng(2)
    x, rating, _ = line(120, rng)
    plain, report = fit_heads(x, rating, 5, HeadConfig(iterations=40), 5)
    unrated = Unrated(x[:5], x[1:6], x[:2], x[:5], x[5:10])
    given, again = fit_heads(x, rating, 5, HeadConfig(iterations=40), 5, None, unrated, 1)
    assert report == again
    np.testing.assert_array_equal(plain.probabilities(x), given.probabilities(x))


def episode(index, steps, prop=4):
    frames = [encode_jpeg(np.full((48, 48, 3), (index * 7 + i) % 255, np.uint8)) for i in range(steps + 1)]
    observations = np.full((steps + 1, 19), index, np.float32)
    return make_episode(index, steps, observations=observations, jpegs=frames, prop_dim=prop)


def test_the_store_knows_neighbours_and_starts():
    store = FrameStore(100, 48, 4, 0)
    store.add(episode(0, 9))
    store.add(episode(1, 4))
    assert store.starts.tolist() == [0, 10]
    assert store.followers.tolist() == [*range(1, 10), *range(11, 15)]
    again = FrameStore(100, 48, 4, 0)
    again.load_state_dict(store.state_dict())
    assert again.starts.tolist() == store.starts.tolist()
    assert again.followers.tolist() == store.followers.tolist()
    assert np.array_equal(again.objects, store.objects) and store.objects[:, 0].tolist() == [0.0] * 10 + [1.0] * 5
    older = store.state_dict()
    del older["objects"]
    again.load_state_dict(older)
    assert np.isnan(again.objects).all() and again.objects.shape == (15, 3)


def test_frames_that_took_others_places_are_nobodys_neighbours():
    store = FrameStore(30, 48, 4, 0)
    for index in range(6):
        store.add(episode(index, 9))
    owner = store.proprio[:, 0]
    assert len(store.followers) < 29
    assert all(owner[i] == owner[i - 1] for i in store.followers)
    assert store.size == 30
