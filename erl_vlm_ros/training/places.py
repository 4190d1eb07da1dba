# SPDX-License-Identifier: Apache-2.0
"""Places to explore near: where a person drove; else where the arm was held up, and where the reward is highest."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.spaces import EE_POSITION, LINEAR
from erl_vlm_ros.training.held_up import held_up

_BEST_SHARE, _FEWEST_BEST = 0.02, 16  # frames of high reward


def demonstrated_places(replay: ReplayBuffer, most: int) -> np.ndarray:
    """End-effector positions spread over all that a person drove, m, float32 [N <= most, 3]."""
    shown = replay.demonstrations
    return _positions(replay, replay.transition_frame[_spread(shown, most)])


def found_places(replay: ReplayBuffer, reward: np.ndarray | None, most: int) -> np.ndarray:
    """End-effector positions, m, float32 [N <= most, 3]: where the arm was held up, and of the frames with the highest
    learned ``reward`` [F], as many of each; None: there is no reward model yet."""
    kinds = [frames for frames in (_held_up(replay), _best(reward)) if len(frames)]
    if not kinds:
        return np.zeros((0, 3), np.float32)
    count = min(most // len(kinds), max(map(len, kinds)))
    return _positions(replay, np.concatenate([_filled(frames, count) for frames in kinds]))


def _held_up(replay: ReplayBuffer) -> np.ndarray:
    """Frames before which something held the arm up."""
    if LINEAR not in replay.spaces.action or not len(replay):
        return np.zeros(0, np.int64)
    after = replay.transition_frame
    position = replay.frame_observations[:, replay.spaces.observation.slice(EE_POSITION)]
    commands = replay.actions[:, replay.spaces.action.slice(LINEAR)]
    episode = replay.frame_episode[after]
    first = np.append(True, episode[1:] != episode[:-1])
    return after[held_up(position[after - 1], position[after], commands, first)]


def _best(reward: np.ndarray | None) -> np.ndarray:
    if reward is None:
        return np.zeros(0, np.int64)
    return np.argsort(-reward, kind="stable")[: max(_FEWEST_BEST, round(_BEST_SHARE * len(reward)))]


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    return indices[np.linspace(0, len(indices) - 1, min(len(indices), most)).round().astype(int)]


def _filled(indices: np.ndarray, count: int) -> np.ndarray:
    """``count`` of them, evenly; some of them again where they are fewer."""
    return indices[np.arange(count) * len(indices) // count]


def _positions(replay: ReplayBuffer, frames: np.ndarray) -> np.ndarray:
    return replay.frame_observations[frames, replay.spaces.observation.slice(EE_POSITION)].copy()
