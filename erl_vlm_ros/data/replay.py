# SPDX-License-Identifier: Apache-2.0
"""Replay buffer: transitions that point at frames; each frame keeps one observation and one JPEG."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.columns import Column, rows
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import pack_jpegs, unpack_jpegs
from erl_vlm_ros.data.spaces import Spaces, require_spaces, spaces_in
from erl_vlm_ros.data.views import pack_views, with_views


class TransitionBatch(NamedTuple):
    """B transitions, float32. ``terminated`` is 1 only where the task ended: a time-out still bootstraps."""

    obs: torch.Tensor  # [B, O]
    action: torch.Tensor  # [B, A]
    reward: torch.Tensor  # [B]
    next_obs: torch.Tensor  # [B, O]
    terminated: torch.Tensor  # [B]


class WindowBatch(NamedTuple):
    """B stretches of L steps, float32; each lies within one episode."""

    obs: torch.Tensor  # [B, L, O]
    action: torch.Tensor  # [B, L, A]
    reward: torch.Tensor  # [B, L]


class ReplayBuffer:
    """Holds at most ``capacity`` transitions; when full, whole episodes leave, oldest first.

    All views are oldest first. Frame i of a view is the frame with the lasting id ``first_frame_id + i``, so
    that features computed for a frame can be kept while others are evicted.
    """

    def __init__(self, capacity: int, obs_dim: int, act_dim: int, prop_dim: int, spaces: Spaces | None = None) -> None:
        """``spaces``: what the vectors hold; episodes and checkpoints of others are refused. None: only sizes count."""
        if capacity < 1 or not 0 < prop_dim <= obs_dim or act_dim < 1:
            raise DataError(
                f"bad buffer sizes: capacity {capacity}, obs {obs_dim}, act {act_dim}, prop {prop_dim}",
                field="capacity",
            )
        self.capacity, self.obs_dim, self.act_dim, self.prop_dim = capacity, obs_dim, act_dim, prop_dim
        self.spaces = spaces
        self._clear()

    def _clear(self) -> None:
        self._frames = {"observations": Column((self.obs_dim,), np.float32), "stamps": Column((), np.int64)}
        self._frames["episode"] = Column((), np.int64)
        self._steps = {
            "action": Column((self.act_dim,), np.float32),
            "reward": Column((), np.float32),
            "terminated": Column((), np.float32),
            "truncated": Column((), np.float32),
            "next_frame": Column((), np.int64),  # lasting frame id
            "intervention": Column((), np.bool_),
        }
        self._set_extras([])
        self._demonstrations: np.ndarray | None = None  # indices of the transitions a person drove; None: look again
        self._jpegs: list[bytes] = []
        self._lengths: deque[int] = deque()  # transitions of each episode held
        self._instructions: deque[str] = deque()  # the sentence of each episode held
        self.first_frame_id = 0  # frames evicted so far
        self.episodes_added = 0

    def _set_extras(self, names: list[str]) -> None:
        self.extra_names = list(names)
        self._frames["extras"] = Column((len(names),), np.float32)

    def __len__(self) -> int:
        return len(self._steps["action"].view)

    def add_episode(self, episode: Episode, rewards: np.ndarray | None = None) -> None:
        """Append an episode; ``rewards`` float [T] (zeros until the next set_rewards when absent).

        Raises:
            ValueError: an evaluation episode, other dimensions or extras, or longer than the whole buffer.
        """
        steps = episode.steps
        if episode.evaluation:
            raise DataError("an evaluation episode must not be learned from", field="evaluation")
        sizes = (episode.observations.shape[1], episode.actions.shape[1])
        if self.spaces is not None:
            require_spaces(self.spaces, episode.spaces, sizes, f"episode {episode.index}")
        if sizes != (self.obs_dim, self.act_dim):
            raise DataError(
                f"episode of {sizes[0]} observations and {sizes[1]} actions a step does not fit a buffer of "
                f"{self.obs_dim} and {self.act_dim}",
                field="sizes",
            )
        if episode.prop_dim != self.prop_dim:
            raise DataError(
                f"episode with prop_dim {episode.prop_dim} does not fit a buffer of {self.prop_dim}", field="prop_dim"
            )
        if steps > self.capacity:
            raise DataError(
                f"episode of {steps} steps is longer than the buffer's capacity of {self.capacity}", field="steps"
            )
        if episode.extra_names != self.extra_names:
            if self.episodes_added:
                raise DataError(
                    f"episode with the extras {episode.extra_names} does not fit a buffer with {self.extra_names}: "
                    "set policy_controller's extras.* as when the run began",
                    field="extras",
                )
            self._set_extras(episode.extra_names)  # the first episode decides
        while len(self) + steps > self.capacity:
            self._evict()
        first = self.first_frame_id + len(self._jpegs)
        self._jpegs.extend(episode.jpegs)
        self._frames["observations"].append(episode.observations)
        self._frames["stamps"].append(episode.stamps)
        self._frames["episode"].append(np.full(steps + 1, self.episodes_added))
        self._frames["extras"].append(episode.extras)
        last = np.arange(steps) == steps - 1
        self._steps["action"].append(episode.actions)
        self._steps["reward"].append(
            np.zeros(steps, np.float32) if rewards is None else np.asarray(rewards, np.float32)
        )
        self._steps["terminated"].append(last & episode.terminated)
        self._steps["truncated"].append(last & episode.truncated)
        self._steps["next_frame"].append(np.arange(first + 1, first + steps + 1))
        self._steps["intervention"].append(episode.intervention)
        self._lengths.append(steps)
        self._instructions.append(episode.instruction)
        self.episodes_added += 1
        self._demonstrations = None

    def _evict(self) -> None:
        steps = self._lengths.popleft()
        self._instructions.popleft()
        for column in self._steps.values():
            column.drop(steps)
        for column in self._frames.values():
            column.drop(steps + 1)
        del self._jpegs[: steps + 1]
        self.first_frame_id += steps + 1
        self._demonstrations = None

    def sample(self, batch_size: int, generator: np.random.Generator, demo_share: float = 0.0) -> TransitionBatch:
        """Uniform, with replacement; ``demo_share`` of the batch from what a person drove, as long as there is any.

        Without a person's transitions the result is that of ``demo_share`` 0. Raises ValueError when empty.
        """
        if not len(self):
            raise DataError("cannot sample from an empty replay buffer", field="size")
        driven = self.demonstrations if demo_share > 0 else ()
        if not len(driven):
            return self._gather(generator.integers(0, len(self), batch_size))
        count = round(demo_share * batch_size)
        shown = driven[generator.integers(0, len(driven), count)]
        return self._gather(np.concatenate([shown, generator.integers(0, len(self), batch_size - count)]))

    def sample_windows(self, count: int, length: int, generator: np.random.Generator) -> WindowBatch:
        """``count`` stretches of ``length`` steps, uniform over all that lie within an episode, with replacement.

        Raises:
            ValueError: no episode held is that long.
        """
        lengths = np.array(self._lengths, np.int64)
        fitting = np.maximum(lengths - length + 1, 0)
        if length < 1 or not fitting.sum():
            raise DataError(f"no episode in the buffer has {length} steps", field="steps")
        before = np.cumsum(fitting)
        drawn = generator.integers(0, before[-1], count)
        episode = np.searchsorted(before, drawn, side="right")
        first = (np.cumsum(lengths) - lengths)[episode] + drawn - (before - fitting)[episode]
        index = (first[:, None] + np.arange(length)).ravel()
        flat = self._gather(index)
        shape = (count, length)
        return WindowBatch(flat.obs.reshape(*shape, -1), flat.action.reshape(*shape, -1), flat.reward.reshape(shape))

    @property
    def demonstrations(self) -> np.ndarray:
        """int64 [D], transitions that a person drove, 0 being the oldest held."""
        if self._demonstrations is None:
            self._demonstrations = np.flatnonzero(self._steps["intervention"].view)
        return self._demonstrations

    def best_transitions(self, share: float) -> np.ndarray:
        """int64 [D], transitions of the ``share`` of the episodes with the highest mean reward, one at least."""
        lengths = np.array(self._lengths, np.int64)
        first = np.cumsum(lengths) - lengths
        mean = np.add.reduceat(self.rewards, first) / lengths
        best = np.zeros(len(lengths), bool)
        best[np.argsort(-mean, kind="stable")[: max(1, round(share * len(lengths)))]] = True
        return np.flatnonzero(np.repeat(best, lengths))

    def gather(self, index: np.ndarray) -> TransitionBatch:
        """The transitions at ``index`` int [B], 0 being the oldest; copies. IndexError when out of range."""
        index = np.asarray(index, np.int64)
        if index.ndim != 1 or not index.size or index.min() < 0 or index.max() >= len(self):
            raise IndexError(f"transition indices must be a list within 0..{len(self) - 1}")
        return self._gather(index)

    def _gather(self, index: np.ndarray) -> TransitionBatch:
        steps, observations = self._steps, self._frames["observations"].view
        frame = steps["next_frame"].view.take(index)
        frame -= self.first_frame_id
        return TransitionBatch(
            rows(observations, frame - 1),
            rows(steps["action"].view, index),
            rows(steps["reward"].view, index),
            rows(observations, frame),
            rows(steps["terminated"].view, index),
        )

    @property
    def n_frames(self) -> int:
        """Frames held: one more than transitions for each episode."""
        return len(self._jpegs)

    @property
    def frame_jpegs(self) -> list[bytes]:
        """JPEG of each frame, of several cameras a data.views.Frame; do not modify."""
        return self._jpegs

    @property
    def frame_observations(self) -> np.ndarray:
        """float32 [F, O]."""
        return self._frames["observations"].view

    @property
    def frame_proprio(self) -> np.ndarray:
        """float32 [F, P]."""
        return self._frames["observations"].view[:, : self.prop_dim]

    @property
    def frame_extras(self) -> np.ndarray:
        """float32 [F, K], named by ``extra_names``."""
        return self._frames["extras"].view

    @property
    def frame_stamps(self) -> np.ndarray:
        """int64 [F], ns."""
        return self._frames["stamps"].view

    @property
    def frame_episode(self) -> np.ndarray:
        """int64 [F], serial number of the frame's episode: how recent it is, against ``episodes_added``."""
        return self._frames["episode"].view

    def instruction(self, frame: int) -> str:
        """The sentence of the episode of frame ``frame`` of the views; empty: the task's."""
        oldest = self.episodes_added - len(self._lengths)
        return self._instructions[int(self.frame_episode[frame]) - oldest]

    @property
    def transition_frame(self) -> np.ndarray:
        """int64 [n], each transition's next state as an index of the frame views; its state is one before."""
        return self._steps["next_frame"].view - self.first_frame_id

    @property
    def transition_episode(self) -> np.ndarray:
        """int64 [n], serial number of each transition's episode."""
        return self.frame_episode[self.transition_frame]

    @property
    def actions(self) -> np.ndarray:
        """float32 [n, A]."""
        return self._steps["action"].view

    @property
    def rewards(self) -> np.ndarray:
        """float32 [n]."""
        return self._steps["reward"].view

    @property
    def terminated(self) -> np.ndarray:
        """float32 [n], 1 where the task ended."""
        return self._steps["terminated"].view

    @property
    def intervention(self) -> np.ndarray:
        """bool [n], where a person drove."""
        return self._steps["intervention"].view

    @property
    def truncated(self) -> np.ndarray:
        """float32 [n], 1 where the episode was cut."""
        return self._steps["truncated"].view

    def set_part(self, name: str, values: np.ndarray) -> None:
        """Overwrite a part of every frame's observation, float32 [F, size]: what a new encoder sees in the images.

        Raises:
            ValueError: there is no such part, or another number of values, or one that is not finite.
        """
        if self.spaces is None:
            raise DataError(f"the buffer knows no part '{name}': it was made without spaces", field=name)
        part = self.frame_observations[:, self.spaces.observation.slice(name)]
        if values.shape != part.shape or not np.isfinite(values).all():
            raise DataError(f"'{name}' must be finite and {list(part.shape)}, got {list(values.shape)}", field=name)
        part[:] = values

    def set_rewards(self, rewards: np.ndarray) -> None:
        """Replace every reward: float [n]. ValueError on another length or a number that is not finite."""
        rewards = np.asarray(rewards, np.float32)
        if rewards.shape != (len(self),) or not np.isfinite(rewards).all():
            raise DataError(f"expected {len(self)} finite rewards, got shape {list(rewards.shape)}", field="rewards")
        self._steps["reward"].view[:] = rewards

    def state_dict(self) -> dict[str, Any]:
        """Everything held, as arrays and numbers (for data.checkpoint)."""
        jpeg, offsets = pack_jpegs(self._jpegs)
        more, names = pack_views(self._jpegs)
        sizes = {key: getattr(self, key) for key in ("capacity", "obs_dim", "act_dim", "prop_dim")}
        return {
            "sizes": sizes,
            "spaces": None if self.spaces is None else self.spaces.to_json(),
            "counters": {"first_frame_id": self.first_frame_id, "episodes_added": self.episodes_added},
            "lengths": np.array(self._lengths, np.int64),
            "instructions": list(self._instructions),
            "extra_names": self.extra_names,
            "frames": {name: column.view for name, column in self._frames.items()},
            "steps": {name: column.view for name, column in self._steps.items()},
            "jpeg": jpeg,
            "jpeg_offsets": offsets,
            **more,
            **names,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore. A checkpoint from before interventions, extras and instructions were kept has none of them.

        Raises:
            ValueError: the dimensions differ, or the parts do not belong together.
        """
        if self.spaces is not None:
            sizes = (state["sizes"]["obs_dim"], state["sizes"]["act_dim"])
            require_spaces(self.spaces, spaces_in(state), sizes, "the checkpoint's buffer")
        for key in ("obs_dim", "act_dim", "prop_dim"):
            if state["sizes"][key] != getattr(self, key):
                raise DataError(
                    f"checkpoint buffer has {key} {state['sizes'][key]}, this run has {getattr(self, key)}", field=key
                )
        lengths = [int(n) for n in state["lengths"]]
        jpegs = with_views(unpack_jpegs(state["jpeg"], state["jpeg_offsets"]), state, state, trusted=True)
        n_steps, n_frames = sum(lengths), sum(lengths) + len(lengths)
        extra_names = list(state.get("extra_names", ()))
        steps = {"intervention": np.zeros(n_steps, bool), **state["steps"]}
        frames = {"extras": np.zeros((n_frames, len(extra_names)), np.float32), **state["frames"]}
        parts = [(steps[k], n_steps) for k in self._steps] + [(frames[k], n_frames) for k in self._frames]
        if len(jpegs) != n_frames or any(len(part) != n for part, n in parts):
            raise DataError("checkpoint buffer is inconsistent: its columns have different lengths", field="columns")
        self._clear()
        self._set_extras(extra_names)
        for name, column in self._steps.items():
            column.append(steps[name])
        for name, column in self._frames.items():
            column.append(frames[name])
        self._jpegs, self._lengths = jpegs, deque(lengths)
        self._instructions = deque(state.get("instructions", [""] * len(lengths)))
        self.first_frame_id = int(state["counters"]["first_frame_id"])
        self.episodes_added = int(state["counters"]["episodes_added"])
        while len(self) > self.capacity:  # the run was resumed with a smaller buffer
            self._evict()
