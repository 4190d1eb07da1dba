# SPDX-License-Identifier: Apache-2.0
"""A fixed set of simulated episodes of every skill, with what is true of each frame, for the level of the reward."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erl_vlm_ros.common.tasks import Task, load_task
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many
from erl_vlm_ros.data.segment import Segment, segment_id
from erl_vlm_ros.data.spaces import EE_POSITION, Spaces
from erl_vlm_ros.ros.observation_source import WRENCH_NAMES
from erl_vlm_ros.sim.backend import backend_spaces, make_backend
from erl_vlm_ros.sim.demonstrator import rough_demonstrator
from erl_vlm_ros.sim.rollout import roll_out
from erl_vlm_ros.training.local import Truth

NOISES = (1.0, 0.7, 1.0, 0.4, 0.2, 0.05)  # of the demonstrators in turn: hardly anything of the expert, to nearly all
RATED_EPISODES, HELD_OUT = 40, 30


@dataclass
class Frames:
    """Episodes of T steps, numbered from 0; rows are their frames 0 .. T - 1. wrench: float32 [N, 6]; level: int [N],
    of five; classes: int [N, 6], column n: class among n."""

    spaces: Spaces
    episodes: list[Episode]
    truth: Truth
    wrench: np.ndarray

    def __post_init__(self) -> None:
        self.places = [(e.index, t) for e in self.episodes for t in range(e.steps)]
        self.classes = np.array([self.truth.classes[e][t] for e, t in self.places])
        self.progress = np.array([self.truth.progress[e][t] for e, t in self.places])
        self.level = self.classes[:, 5]
        observations = np.concatenate([e.observations[:-1] for e in self.episodes])
        self.proprio = np.ascontiguousarray(observations[:, : self.spaces.observation.proprio_size])
        self.position = observations[:, self.spaces.observation.slice(EE_POSITION)]

    def images(self, side: int) -> np.ndarray:
        """uint8 [N, side, side, 3]."""
        return decode_many([jpeg for e in self.episodes for jpeg in e.jpegs[:-1]], side)

    def segment(self, row: int) -> Segment:
        """One frame, with what its sensors told."""
        index, t = self.places[row]
        episode = self.episodes[index]
        action = episode.actions[max(t - 1, 0)][None]
        return Segment(
            segment_id(index, t, 1), [episode.jpegs[t]], self.proprio[row][None], action,
            episode.stamps[t : t + 1], self.wrench[row][None], WRENCH_NAMES, self.spaces,
        )  # fmt: skip


def frames_of(task_name: str, folder: Path | None, quick: bool) -> tuple[Frames, Frames]:
    """(those that are rated, those held out), from the folder's files where they are there, else into them."""
    task = load_task(task_name)
    sizes = (3, 2) if quick else (RATED_EPISODES, HELD_OUT)
    return tuple(  # the seeds are the same in every run: the set is fixed
        Frames(*kept(folder, f"{task_name}-{what}-{count}", lambda count=count, seed=seed: _collect(task, count, seed)))
        for what, count, seed in (("rated", sizes[0], 0), ("held-out", sizes[1], 1))
    )


def kept(folder: Path | None, name: str, make: Callable[[], tuple]) -> tuple:
    """What was made under that name before, from the folder; else it is made, and written there."""
    path = None if folder is None else folder / f"{name}.pickle"
    if path is not None and path.exists():
        return pickle.loads(path.read_bytes())
    parts = make()
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(parts))
    return parts


def _collect(task: Task, count: int, seed: int) -> tuple:
    arm = make_backend("", task, (128, 128))
    spaces, truth = backend_spaces(arm, task), Truth()
    episodes, wrench = [], []
    for index in range(count):
        demo = rough_demonstrator(task, seed, index, NOISES[index % len(NOISES)])

        def drive(observation: np.ndarray, jpeg: Callable[[], bytes], demo=demo) -> np.ndarray:
            wrench.append(arm.wrench())
            return demo.act(arm.state(), spaces.action.size)

        done = roll_out(
            arm, spaces, task.episode_steps, task.control_hz, drive, seed=1000 * seed + index, evaluation=False,
            index=index, actor_version=0, by_person=True,
        )  # fmt: skip
        episodes.append(done.episode)
        truth.add(index, done)
    arm.close()
    return spaces, episodes, truth, np.array(wrench, np.float32)
