# SPDX-License-Identifier: Apache-2.0
"""Mixed simulator frames with their true classes, to measure how well the stand-in VLM sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.robot.spec import RobotSpec
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.oracle import Oracle
from erl_vlm_ros.sim.state import MAX_WIDTH, SimState


@dataclass(frozen=True)
class TrueFrame:
    """One image and what was true when it was taken. ``classes``: n -> true class 0..n-1."""

    jpeg: bytes
    state: SimState
    classes: dict[int, int]


def collect_frames(
    task: str, count: int, seed: int = 0, size: int = 128, quality: int = 90, robot: RobotSpec | None = None
) -> list[TrueFrame]:
    """``count`` frames of episodes that wander between waypoints, do the task for a while, and wander again.

    Every third frame is kept, so that neighbours differ. One episode in four only wanders; half of the
    waypoints lie around the object, as they do in a learning run.
    """
    rng = np.random.default_rng(seed)
    arm = SimArm(task, (size, size), robot)
    frames: list[TrueFrame] = []
    while len(frames) < count:
        arm.reset(int(rng.integers(2**31)))
        start = int(rng.integers(0, 16))
        stop = start + int(rng.integers(8, arm.config.episode_steps)) * int(rng.random() < 0.75)
        for step in _drive(arm, rng, start, stop):
            if step % 3 == 0 and len(frames) < count:
                frames.append(_frame(arm, quality))
    arm.close()
    return frames


def trajectories(task: str, count: int, seed: int = 0, size: int = 128, quality: int = 90) -> list[list[TrueFrame]]:
    """``count`` frames in all, of episodes that wander for a few steps and then do the task.

    Every frame is kept, so that neighbours are much alike, until the task has been done for half a second.
    """
    rng = np.random.default_rng(seed)
    arm = SimArm(task, (size, size))
    out: list[list[TrueFrame]] = []
    left = count
    while left > 0:
        arm.reset(int(rng.integers(2**31)))
        episode = [_frame(arm, quality)]
        for _ in _drive(arm, rng, int(rng.integers(0, 8)), arm.config.episode_steps):
            episode.append(_frame(arm, quality))
            if len(episode) >= left or all(f.classes[2] for f in episode[-5:]):
                break
        out.append(episode)
        left -= len(episode)
    arm.close()
    return out


def _drive(arm: SimArm, rng: np.random.Generator, start: int, stop: int) -> Iterator[int]:
    """Do one episode: the task from step ``start`` to ``stop``, waypoints otherwise; yields after every step."""
    config = arm.config
    low, high, speed = np.array(config.workspace_min), np.array(config.workspace_max), config.linear_speed
    noise, oracle, point, width = rng.uniform(0.0, 0.1), Oracle(config.name, speed), None, arm.task.start_width
    for step in range(config.episode_steps):
        state = arm.state()
        if start <= step < stop:
            velocity, width = oracle(state)
        else:
            if point is None or np.linalg.norm(point - state.ee_position) < 0.03 or rng.random() < 0.08:
                near = rng.random() < 0.5
                point = state.object_position + rng.normal(0.0, 0.06, 3) if near else rng.uniform(low, high)
                width = MAX_WIDTH * float(config.use_gripper and rng.random() < 0.5)
            velocity = 10.0 * (point - state.ee_position)
        arm.apply(np.clip(velocity + rng.normal(0.0, noise, 3), -speed, speed), width)
        yield step


def _frame(arm: SimArm, quality: int) -> TrueFrame:
    state = arm.state()
    classes = {n: arm.task.truth_class(state, n) for n in arm.task.merge}
    return TrueFrame(encode_jpeg(arm.render(), quality), state, classes)
