# SPDX-License-Identifier: Apache-2.0
"""Replay buffer: transitions that point at frames; each frame keeps one observation and one JPEG."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import pack_jpegs, unpack_jpegs


class TransitionBatch(NamedTuple):
    """B transitions, float32. ``terminated`` is 1 only where the task ended: a time-out still bootstraps."""

    obs: torch.Tensor  # [B, O]
    action: torch.Tensor  # [B, A]
    reward: torch.Tensor  # [B]
    next_obs: torch.Tensor  # [B, O]
    terminated: torch.Tensor  # [B]


class _Column:
    """Rows appended at the end and dropped at the front; ``view`` is always one plain slice."""

    def __init__(self, row_shape: tuple[int, ...], dtype: Any) -> None:
        self._data = np.zeros((64, *row_shape), dtype)
        self._start = self._end = 0
        self.view = self._data[:0]

    def append(self, rows: np.ndarray) -> None:
        live, extra = self._end - self._start, len(rows)
        if self._end + extra > len(self._data):
            target = self._data
            if 2 * (live + extra) > len(
                target
            ):  # else at least half is free: moving rows down is cheap enough
                target = np.zeros((2 * (live + extra), *target.shape[1:]), target.dtype)
            target[:live] = self.view
            self._data, self._start, self._end = target, 0, live
        self._data[self._end : self._end + extra] = rows
        self._end += extra
        self.view = self._data[self._start : self._end]

    def drop(self, count: int) -> None:
        self._start += count
        self.view = self._data[self._start : self._end]


def _rows(source: np.ndarray, index: np.ndarray) -> torch.Tensor:
    # Memory from torch: its alignment is fixed, and the last bits of a matrix product depend on alignment.
    # mode="clip" only because it spares numpy a buffer; callers pass indices within range.
    rows = torch.empty((len(index), *source.shape[1:]))
    source.take(index, 0, out=rows.numpy(), mode="clip")
    return rows


class ReplayBuffer:
    """Holds at most ``capacity`` transitions; when full, whole episodes leave, oldest first.

    All views are oldest first. Frame i of a view is the frame with the lasting id ``first_frame_id + i``, so
    that features computed for a frame can be kept while others are evicted.
    """

    def __init__(self, capacity: int, obs_dim: int, act_dim: int, prop_dim: int) -> None:
        if capacity < 1 or not 0 < prop_dim <= obs_dim or act_dim < 1:
            raise ValueError(
                f"bad buffer sizes: capacity {capacity}, obs {obs_dim}, act {act_dim}, prop {prop_dim}"
            )
        self.capacity, self.obs_dim, self.act_dim, self.prop_dim = capacity, obs_dim, act_dim, prop_dim
        self._clear()

    def _clear(self) -> None:
        self._frames = {"observations": _Column((self.obs_dim,), np.float32), "stamps": _Column((), np.int64)}
        self._frames["episode"] = _Column((), np.int64)
        # A flag per transition (a demonstration, an intervention) would be one more column here.
        self._steps = {
            "action": _Column((self.act_dim,), np.float32),
            "reward": _Column((), np.float32),
            "terminated": _Column((), np.float32),
            "truncated": _Column((), np.float32),
            "next_frame": _Column((), np.int64),  # lasting frame id
        }
        self._jpegs: list[bytes] = []
        self._lengths: deque[int] = deque()  # transitions of each episode held
        self.first_frame_id = 0  # frames evicted so far
        self.episodes_added = 0

    def __len__(self) -> int:
        return len(self._steps["action"].view)

    def add_episode(self, episode: Episode, rewards: np.ndarray | None = None) -> None:
        """Append an episode; ``rewards`` float [T] (zeros until the next set_rewards when absent).

        Raises:
            ValueError: an evaluation episode, other dimensions, or longer than the whole buffer.
        """
        steps = episode.steps
        if episode.evaluation:
            raise ValueError("an evaluation episode must not be learned from")
        sizes = (episode.observations.shape[1], episode.actions.shape[1])
        if sizes != (self.obs_dim, self.act_dim):
            raise ValueError(
                f"episode of {sizes[0]} observations and {sizes[1]} actions a step does not fit a buffer of "
                f"{self.obs_dim} and {self.act_dim}"
            )
        if episode.prop_dim != self.prop_dim:
            raise ValueError(
                f"episode with prop_dim {episode.prop_dim} does not fit a buffer of {self.prop_dim}"
            )
        if steps > self.capacity:
            raise ValueError(
                f"episode of {steps} steps is longer than the buffer's capacity of {self.capacity}"
            )
        while len(self) + steps > self.capacity:
            self._evict()
        first = self.first_frame_id + len(self._jpegs)
        self._jpegs.extend(episode.jpegs)
        self._frames["observations"].append(episode.observations)
        self._frames["stamps"].append(episode.stamps)
        self._frames["episode"].append(np.full(steps + 1, self.episodes_added))
        last = np.arange(steps) == steps - 1
        self._steps["action"].append(episode.actions)
        self._steps["reward"].append(
            np.zeros(steps, np.float32) if rewards is None else np.asarray(rewards, np.float32)
        )
        self._steps["terminated"].append(last & episode.terminated)
        self._steps["truncated"].append(last & episode.truncated)
        self._steps["next_frame"].append(np.arange(first + 1, first + steps + 1))
        self._lengths.append(steps)
        self.episodes_added += 1

    def _evict(self) -> None:
        steps = self._lengths.popleft()
        for column in self._steps.values():
            column.drop(steps)
        for column in self._frames.values():
            column.drop(steps + 1)
        del self._jpegs[: steps + 1]
        self.first_frame_id += steps + 1

    def sample(self, batch_size: int, generator: np.random.Generator) -> TransitionBatch:
        """Uniform, with replacement. Raises ValueError when the buffer is empty."""
        if not len(self):
            raise ValueError("cannot sample from an empty replay buffer")
        return self._gather(generator.integers(0, len(self), batch_size))

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
            _rows(observations, frame - 1),
            _rows(steps["action"].view, index),
            _rows(steps["reward"].view, index),
            _rows(observations, frame),
            _rows(steps["terminated"].view, index),
        )

    @property
    def n_frames(self) -> int:
        """Frames held: one more than transitions for each episode."""
        return len(self._jpegs)

    @property
    def frame_jpegs(self) -> list[bytes]:
        """JPEG of each frame; do not modify."""
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
    def frame_stamps(self) -> np.ndarray:
        """int64 [F], ns."""
        return self._frames["stamps"].view

    @property
    def frame_episode(self) -> np.ndarray:
        """int64 [F], serial number of the frame's episode: how recent it is, against ``episodes_added``."""
        return self._frames["episode"].view

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
    def truncated(self) -> np.ndarray:
        """float32 [n], 1 where the episode was cut."""
        return self._steps["truncated"].view

    def set_rewards(self, rewards: np.ndarray) -> None:
        """Replace every reward: float [n]. ValueError on another length or a number that is not finite."""
        rewards = np.asarray(rewards, np.float32)
        if rewards.shape != (len(self),) or not np.isfinite(rewards).all():
            raise ValueError(f"expected {len(self)} finite rewards, got shape {list(rewards.shape)}")
        self._steps["reward"].view[:] = rewards

    def state_dict(self) -> dict[str, Any]:
        """Everything held, as arrays and numbers (for data.checkpoint)."""
        jpeg, offsets = pack_jpegs(self._jpegs)
        sizes = {key: getattr(self, key) for key in ("capacity", "obs_dim", "act_dim", "prop_dim")}
        return {
            "sizes": sizes,
            "counters": {"first_frame_id": self.first_frame_id, "episodes_added": self.episodes_added},
            "lengths": np.array(self._lengths, np.int64),
            "frames": {name: column.view for name, column in self._frames.items()},
            "steps": {name: column.view for name, column in self._steps.items()},
            "jpeg": jpeg,
            "jpeg_offsets": offsets,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore. Raises ValueError when the dimensions differ or the parts do not belong together."""
        for key in ("obs_dim", "act_dim", "prop_dim"):
            if state["sizes"][key] != getattr(self, key):
                raise ValueError(
                    f"checkpoint buffer has {key} {state['sizes'][key]}, this run has {getattr(self, key)}"
                )
        lengths = [int(n) for n in state["lengths"]]
        jpegs = unpack_jpegs(state["jpeg"], state["jpeg_offsets"])
        n_steps, n_frames = sum(lengths), sum(lengths) + len(lengths)
        parts = [(state["steps"][k], n_steps) for k in self._steps] + [
            (state["frames"][k], n_frames) for k in self._frames
        ]
        if len(jpegs) != n_frames or any(len(part) != n for part, n in parts):
            raise ValueError("checkpoint buffer is inconsistent: its columns have different lengths")
        self._clear()
        for name, column in self._steps.items():
            column.append(state["steps"][name])
        for name, column in self._frames.items():
            column.append(state["frames"][name])
        self._jpegs, self._lengths = jpegs, deque(lengths)
        self.first_frame_id = int(state["counters"]["first_frame_id"])
        self.episodes_added = int(state["counters"]["episodes_added"])
        while len(self) > self.capacity:  # the run was resumed with a smaller buffer
            self._evict()
