# SPDX-License-Identifier: Apache-2.0
"""Episodes: the bundle round trip and what is refused."""

import dataclasses

import factories
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.bundle import BundleError, decode, encode
from erl_vlm_ros.data.episode import Episode


def make_episode(steps=3, **changes):
    values = {"actor_version": 4, "seed": -1, "stamps": np.arange(steps + 1) * 10**8}
    return factories.make_episode(changes.pop("index", 12), steps, **(values | changes))


def test_bundle_round_trip():
    episode = make_episode(evaluation=True, seed=1007)
    copy = Episode.from_bundle(decode(encode(episode.to_bundle()), "episode"))
    for field in dataclasses.fields(Episode):
        np.testing.assert_array_equal(getattr(copy, field.name), getattr(episode, field.name), err_msg=field.name)
    assert copy.steps == 3 and copy.observations.dtype == np.float32 and copy.stamps.dtype == np.int64


@pytest.mark.parametrize("success", [None, True, False])
def test_what_a_person_and_further_sensors_add_survives_the_bundle(success):
    driven = np.array([False, True, True])
    extras = np.arange(8, dtype=np.float32).reshape(4, 2)
    episode = make_episode(intervention=driven, extras=extras, extra_names=["wrench_fx", "effort_a"], success=success)
    copy = Episode.from_bundle(decode(encode(episode.to_bundle()), "episode"))
    assert copy.intervention.dtype == bool and copy.intervention.tolist() == driven.tolist()
    assert copy.success is success and copy.extra_names == ["wrench_fx", "effort_a"]
    np.testing.assert_array_equal(copy.extras, extras)


@pytest.mark.parametrize(
    "changes, fields",
    [
        ({"actions": np.zeros((2, 3))}, {"field": "observations"}),
        ({"jpegs": [b""] * 3}, {"field": "jpegs"}),
        ({"stamps": np.arange(3)}, {"field": "stamps"}),
        ({"observations": np.full((4, 19), np.nan)}, {"field": "observations.values"}),
        ({"actions": np.full((3, 3), np.inf)}, {"field": "actions.values"}),
        ({"prop_dim": 20}, {"field": "prop_dim"}),
        ({"observations": np.zeros(4)}, {"field": "rank"}),
        ({"intervention": np.zeros(4, bool)}, {"field": "intervention"}),
        ({"extras": np.zeros((4, 2))}, {"field": "extra_names"}),
        ({"extras": np.full((4, 1), np.inf), "extra_names": ["wrench_fx"]}, {"field": "extras.values"}),
    ],
)
def test_inconsistent_parts_are_refused(changes, fields):
    with refused(DataError, **fields):
        make_episode(**changes)
    with refused(DataError, field="actions"):
        make_episode(1, actions=np.zeros((0, 3)), observations=np.zeros((1, 19)), jpegs=[b""], stamps=np.zeros(1))


def test_a_bundle_with_bad_meta_or_offsets_is_refused():
    bundle = make_episode().to_bundle()
    bundle.meta["truncated"] = 1
    with refused(BundleError, field="episode.meta.truncated"):
        Episode.from_bundle(bundle)
    for key, wrong in (("success", 1), ("extra_names", "x"), ("extra_names", [3])):
        bundle = make_episode().to_bundle()
        bundle.meta[key] = wrong
        with refused(BundleError, field=f"episode.meta.{key}"):
            Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    del bundle.meta["seed"]
    with refused(BundleError, field="episode.meta.seed"):
        Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    bundle.arrays["jpeg_offsets"][2] = -5
    with refused(BundleError, field="episode.offsets"):
        Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    bundle.arrays["observations"][0, 0] = np.nan
    with refused(BundleError, field="episode.observations.values"):
        Episode.from_bundle(bundle)
