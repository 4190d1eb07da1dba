# SPDX-License-Identifier: Apache-2.0
"""Home poses, verdicts, the judge, pauses: what begins and ends an episode on a real arm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_episode import make_episode
from test_episode_machine import learner, machine, run_one

from erl_vlm_ros.control.home_watch import HomeWatch
from erl_vlm_ros.control.success_label import SuccessLabel
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.reward.prediction import Prediction
from erl_vlm_ros.training.success import SuccessEstimator


def watch():
    out = HomeWatch({"a": 0.0, "b": 1.0}, tolerance=0.05, settle_s=0.3, timeout_s=10.0)
    out.begin(0.0)
    return out


def test_home_is_reached_when_every_joint_has_settled():
    w = watch()
    w.see({"b": 1.0}, 0.1)
    assert not w.there(1.0)  # joint a has not been seen
    w.see({"a": 0.01, "other": 9.0}, 1.0)
    assert not w.there(1.2) and w.there(1.3)
    w.see({"a": 0.2}, 1.35)
    assert not w.there(2.0)  # it swung through
    w.see({"a": 0.0}, 2.0)
    assert w.there(2.31)


def test_what_was_seen_before_does_not_count():
    w = watch()
    w.see({"a": 0.0, "b": 1.0}, 0.0)
    w.begin(1.0)
    assert not w.there(5.0)


def test_a_late_arm_is_told_with_its_joint():
    w = watch()
    assert w.too_late(10.0) == ""
    assert "no joint state" in w.too_late(10.1)
    w.see({"a": 0.3, "b": 1.1}, 1.0)
    assert "a is 0.30 rad away" in w.too_late(10.1)
    w.see({"b": math.nan}, 2.0)
    assert "b is inf rad away" in w.too_late(10.1) and not w.there(10.0)


@pytest.mark.parametrize("ends", [False, True])
def test_verdicts(ends):
    v = SuccessLabel("topic", ends)
    assert v.success is None and not v.over
    v.topic(False)
    assert v.success is False and not v.over  # not done yet is no verdict to end with
    v.topic(True)
    assert v.success is True and v.over is ends
    v.person(False)
    assert v.success is False and v.over is ends  # a person's word counts more
    v.begin()
    assert v.success is None and not v.over
    v = SuccessLabel("none", ends)
    v.topic(True)
    assert v.success is None
    v.person(True)
    assert v.success is True and v.over is ends


class Model:
    """A reward model that reads the reward from a pixel of the last frame."""

    image_size = 16

    def features(self, images):
        assert len(images) == 1
        return images[:, :1, 0, 0] / 255.0

    def predict(self, features, proprio):
        assert len(proprio) == 1
        return Prediction(features[:, 0], features[:, 0], features[:, 0])


def seen(reward, **changes):
    frames = [encode_jpeg(np.full((16, 16, 3), value, np.uint8)) for value in (0, 0, 0, round(255 * reward))]
    return make_episode(3, jpegs=frames, **changes)


def test_the_judge_uses_the_last_frame_unless_somebody_said_otherwise():
    judge = SuccessEstimator(0.8)
    assert judge.figures() == {}
    assert judge.see(seen(0.9), None) is None
    assert judge.see(seen(0.9), Model()) is True
    assert judge.see(seen(0.6), Model()) is False
    assert judge.see(seen(0.9, success=False), Model()) is False
    assert judge.see(seen(0.1, success=True), None) is True
    assert judge.figures() == {"success_share": 0.5}
    for _ in range(20):
        judge.see(seen(0.9), Model())
    assert judge.figures()["success_share"] == 1.0


def test_the_judge_begins_anew_with_each_evaluation():
    judge = SuccessEstimator(0.8)
    for index, reward in enumerate((0.9, 0.1)):
        judge.see(seen(reward, evaluation=True, index=index), Model())
    assert judge.figures() == {"evaluation_success_share": 0.5}
    judge.see(seen(0.9, evaluation=True, index=0), Model())
    assert judge.figures() == {"evaluation_success_share": 1.0}


def test_nothing_starts_while_paused():
    m = machine()
    m.set_learner(learner(), 0.0)
    m.set_paused(True)
    assert m.poll(0.0) is None
    assert m.summary()["awaits"] == "person" and m.summary()["paused"] is True
    m.set_paused(False)
    assert run_one(m).index == 0
    assert m.summary()["paused"] is False
