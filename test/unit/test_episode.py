# SPDX-License-Identifier: Apache-2.0
"""Episodes: the bundle round trip and what is refused."""

import dataclasses

import factories
import numpy as np
import pytest

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
    "changes, message",
    [
        ({"actions": np.zeros((2, 3))}, "2 actions need 3 observations"),
        ({"jpegs": [b""] * 3}, "frames"),
        ({"stamps": np.arange(3)}, "stamps"),
        ({"observations": np.full((4, 19), np.nan)}, "not finite"),
        ({"actions": np.full((3, 3), np.inf)}, "not finite"),
        ({"prop_dim": 20}, "prop_dim 20"),
        ({"observations": np.zeros(4)}, "rank"),
        ({"intervention": np.zeros(4, bool)}, "intervention"),
        ({"extras": np.zeros((4, 2))}, "extra_names"),
        ({"extras": np.full((4, 1), np.inf), "extra_names": ["wrench_fx"]}, "extras is not finite"),
    ],
)
def test_inconsistent_parts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_episode(**changes)
    with pytest.raises(ValueError, match="at least one action"):
        make_episode(1, actions=np.zeros((0, 3)), observations=np.zeros((1, 19)), jpegs=[b""], stamps=np.zeros(1))


def test_a_bundle_with_bad_meta_or_offsets_is_refused():
    bundle = make_episode().to_bundle()
    bundle.meta["truncated"] = 1
    with pytest.raises(BundleError, match="meta.truncated must be bool"):
        Episode.from_bundle(bundle)
    for key, wrong in (("success", 1), ("extra_names", "x"), ("extra_names", [3])):
        bundle = make_episode().to_bundle()
        bundle.meta[key] = wrong
        with pytest.raises(BundleError, match=f"meta.{key}"):
            Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    del bundle.meta["seed"]
    with pytest.raises(BundleError, match="meta.seed"):
        Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    bundle.arrays["jpeg_offsets"][2] = -5
    with pytest.raises(BundleError, match="offsets"):
        Episode.from_bundle(bundle)
    bundle = make_episode().to_bundle()
    bundle.arrays["observations"][0, 0] = np.nan
    with pytest.raises(BundleError, match="finite"):
        Episode.from_bundle(bundle)
