# SPDX-License-Identifier: Apache-2.0
"""What the monitor shows of this moment: path, rewards, live images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import make_episode
from refusals import refused

from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.control.recorder import square
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.data.images import decode_many, encode_jpeg
from erl_vlm_ros.monitoring.health import Health
from erl_vlm_ros.monitoring.live_reward import LiveReward
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.trace import MOST_POINTS, Trace
from erl_vlm_ros.monitoring.view import View
from erl_vlm_ros.reward.configs import HeadConfig, TrunkConfig
from erl_vlm_ros.reward.heads import fit_heads
from erl_vlm_ros.reward.model import TrunkRewardModel
from erl_vlm_ros.reward.trunk import Trunk

JPEG = encode_jpeg(np.full((64, 64, 3), 90, np.uint8))


def episode(index, steps=4, evaluation=False):
    observations = np.zeros((steps + 1, 19), np.float32)
    observations[:, 6] = np.linspace(0.3, 0.5, steps + 1)
    stamps, jpegs = np.arange(steps + 1) + 100 * index, [JPEG] * (steps + 1)
    return make_episode(
        index, steps, observations=observations, stamps=stamps, jpegs=jpegs, evaluation=evaluation, actor_version=1
    )


def shown(view, now=1.0):
    return view.screen(RunRecord("t", 0, {}, 100, 10, 0.0), Health([], 0.0, 4.0, 9.0), now)


def test_a_finished_episode_is_coloured_by_its_rewards_whichever_comes_first():
    for early in (True, False):
        view = View("t", "s", live=False)
        calls = [lambda v=view: v.rewards(np.array([0.1, 0.2, 0.3, 0.9]), 3), lambda v=view: v.episode(episode(3))]
        for call in calls if early else reversed(calls):
            call()
        screen = shown(view)
        assert screen.reward == pytest.approx(0.9) and screen.rewards.tolist() == [0.1, 0.2, 0.3, 0.9]
        assert (screen.reward_note, screen.camera_note) == ("episode 4", "end of episode 4")
        assert view.trace.colours.tolist() == [0.1, 0.1, 0.2, 0.3, 0.9] and len(view.trace.points) == 5
        assert screen.camera.shape == (64, 64, 3)


def test_rewards_of_another_episode_colour_nothing():
    view = View("t", "s", live=False)
    view.episode(episode(3))
    view.rewards(np.array([0.1, 0.2, 0.3, 0.9]), 2)
    assert view.trace.colours is None and shown(view).rewards is None
    view.episode(episode(0, evaluation=True))
    view.rewards(np.array([0.1, 0.2, 0.3, 0.9]), 0)  # of training episode 0
    assert shown(view).rewards is None and shown(view).reward_note == "evaluation episode 1"


def test_live_the_path_grows_and_takes_the_colour_of_the_latest_looks():
    view = View("t", "s", live=True)
    view.position((0.1, 0, 0), 0.0)  # no episode runs
    view.state({"detail": "running", "episodes": 6})
    for i in range(11):
        view.position((0.3 + 0.01 * i, 0, 0), 10 + 0.1 * i)
    view.image(np.zeros((4, 4, 3), np.uint8), 10.0, 0.0)
    view.image(np.zeros((4, 4, 3), np.uint8), 11.0, 1.0)
    assert view.trace.colours == pytest.approx(np.linspace(0, 1, 11))
    screen = shown(view, 11.2)
    assert (screen.camera_note, screen.reward, screen.reward_note) == ("live", 1.0, "episode 7")
    assert "no new image for 4 s" in shown(view, 15.0).camera_note
    view.episode(episode(6))  # its JPEG does not take the live image's place
    assert shown(view, 11.2).camera.shape == (4, 4, 3)
    view.state({"detail": "resetting"}), view.state({"detail": "running", "episodes": 7})
    assert len(view.trace.points) == 0 and shown(view).rewards is None


def test_who_is_waited_for_is_shown_and_an_unknown_word_is_nobody():
    view = View("t", "s", live=True)
    for said, awaits in (
        ({"waiting_for": "someone to put the scene back", "awaits": "person"}, Awaited.PERSON),
        ({"awaits": "guard"}, Awaited.GUARD),
        ({"awaits": "a word of a later version"}, Awaited.NOBODY),
        ({}, Awaited.NOBODY),
    ):
        view.state(said)
        assert shown(view).awaits is awaits


def test_the_trace_of_a_long_stay_is_bounded_and_still_points_are_left_out():
    trace = Trace()
    for i in range(3 * MOST_POINTS):
        trace.position(0.1 * i, (0.01 * i, 0, 0))
    assert len(trace.points) == MOST_POINTS
    trace.position(1e6, (0.01 * (3 * MOST_POINTS - 1), 0, 0.0005))
    assert len(trace.points) == MOST_POINTS and trace.points[-1][2] == 0


def test_live_reward_is_what_the_learner_would_see():
    rng = np.random.default_rng(0)
    inputs, ratings = rng.normal(size=(40, 138)).astype(np.float32), rng.integers(0, 3, 40)
    heads, _ = fit_heads(inputs, ratings, 3, HeadConfig(members=2, hidden=8, iterations=20), 0)
    torch.manual_seed(0)
    model = TrunkRewardModel(Trunk(TrunkConfig(), 10), heads, 1, 1)
    image = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    proprio = rng.normal(size=10).astype(np.float32)
    live = LiveReward(128)
    assert live.of(image, proprio) is None
    live.set_model(model.to_bundle())
    frame = decode_many([encode_jpeg(square(image, 128))], model.image_size)
    wanted = model.predict(model.features(frame), proprio[None]).mean[0]
    assert live.of(image, proprio) == pytest.approx(float(wanted))
    with refused(BundleError, field="proprio"):
        live.of(image, proprio[:7])
    with pytest.raises(BundleError):
        live.set_model(Bundle("reward_model", {}, {"type": "other"}))
    assert live.of(image, proprio) == pytest.approx(float(wanted))
