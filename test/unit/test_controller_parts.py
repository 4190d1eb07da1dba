# SPDX-License-Identifier: Apache-2.0
"""Recorder, frame assembly and commands of the policy controller."""

import dataclasses

import numpy as np
import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.command import action_to_command
from erl_vlm_ros.control.frame_sync import LatestSync, StampSync
from erl_vlm_ros.control.recorder import EpisodeRecorder, square
from erl_vlm_ros.data.spaces import action_spec, spaces_of

DRAWER, PICK = load_task("drawer_open"), load_task("pick_place")
META = {"evaluation": False, "index": 3, "actor_version": 2, "seed": -1}


def fill(recorder, frames, actions):
    for i in range(max(frames, actions)):
        if i < frames:
            recorder.frame(i * 100, np.full(19, i, np.float32), bytes([i]))
        if i < actions:
            recorder.action(np.full(3, i / 10, np.float32))


@pytest.mark.parametrize("frames, actions, steps", [(4, 3, 3), (4, 4, 3), (2, 1, 1)])
def test_recorder_keeps_complete_transitions(frames, actions, steps):
    recorder = EpisodeRecorder(spaces_of(DRAWER, 6))
    fill(recorder, frames, actions)
    assert recorder.steps == steps
    episode = recorder.finish(**META)
    assert episode.steps == steps and len(episode.jpegs) == steps + 1
    assert episode.stamps.tolist() == [i * 100 for i in range(steps + 1)]
    assert np.allclose(episode.actions[:, 0], np.arange(steps) / 10)
    assert (episode.index, episode.truncated, episode.terminated, episode.prop_dim) == (3, True, False, 10)
    assert recorder.steps == 0 and recorder.finish(**META) is None


@pytest.mark.parametrize("frames, actions", [(0, 0), (1, 0), (1, 1)])
def test_recorder_without_a_transition_gives_nothing(frames, actions):
    recorder = EpisodeRecorder(spaces_of(DRAWER, 6))
    fill(recorder, frames, actions)
    assert recorder.finish(**META) is None


def test_recorder_refuses_a_broken_order():
    recorder = EpisodeRecorder(spaces_of(DRAWER, 6))
    with pytest.raises(ValueError):
        recorder.action(np.zeros(3))
    recorder.frame(0, np.zeros(19), b"")
    with pytest.raises(ValueError):
        recorder.frame(1, np.zeros(19), b"")


def test_square_takes_the_centre():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 5:15] = 200
    assert (square(image, 10) == 200).all()
    assert square(image, 5).shape == (5, 5, 3) and (square(image, 5) == 200).all()
    assert square(image, 16).shape == (16, 16, 3)


def test_stamp_sync_gives_whole_sets_only():
    sync = StampSync(("a", "b"))
    assert sync.add("a", 1, "a1") is None
    assert sync.add("a", 2, "a2") is None
    assert sync.add("b", 2, "b2") == {"a": "a2", "b": "b2"}
    assert sync.add("b", 1, "b1") is None  # its other half was dropped with the older stamps
    assert sync.add("a", 2, "a2") is None and sync.add("b", 2, "b2") is not None  # a repeated set comes again
    for stamp in range(100, 200):
        sync.add("a", stamp, "")
    assert len(sync._sets) < 20


def test_latest_sync_judges_age_by_reception_of_new_stamps():
    sync = LatestSync({"image": 0.3, "pose": 0.5})
    assert sync.problem(0.0) == "no image yet"
    sync.add("image", 1_000, "i1", 0.0)
    sync.add("pose", 1_100, "p1", 0.0)
    assert sync.problem(0.2) == ""
    assert sync.take("image") == (1_000, {"image": "i1", "pose": "p1"})
    assert "image is 0.40 s old" in sync.problem(0.4)
    sync.add("image", 1_000, "i1 again", 0.4)  # a driver that repeats an old frame
    assert "image is" in sync.problem(0.4)
    sync.add("image", 2_000, "i2", 0.4)
    assert sync.problem(0.4) == ""
    assert sync.problem(0.4, not_before=1_500) == "pose is from before the reset"
    sync.add("image", 10**10, "i3", 0.5)
    sync.add("image", 5, "restarted driver", 0.5)
    assert sync.take("pose")[1]["image"] == "restarted driver"


def test_commands_scale_clip_and_map_the_gripper():
    velocity, _, width = action_to_command(np.array([1.0, -0.5, 3.0], np.float32), action_spec(DRAWER))
    assert velocity == (DRAWER.linear_speed, -0.5 * DRAWER.linear_speed, DRAWER.linear_speed) and width == 0.0
    assert action_to_command(np.array([0, 0, 0, -1.0]), action_spec(PICK)).width == 0.0
    assert action_to_command(np.array([0, 0, 0, 1.0]), action_spec(PICK)).width == pytest.approx(0.08)
    slow = dataclasses.replace(DRAWER, linear_speed=0.1)
    assert action_to_command(np.ones(3), action_spec(slow)).linear == (0.1, 0.1, 0.1)
