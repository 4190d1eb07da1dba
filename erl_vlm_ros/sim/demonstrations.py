# SPDX-License-Identifier: Apache-2.0
"""Episodes of the scripted expert, of any skill: what a person's recordings are to a real arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.backend import SimBackend, backend_spaces
from erl_vlm_ros.sim.demonstrator import Demonstrator, disturbance, rough_demonstrator
from erl_vlm_ros.sim.rollout import Rollout, roll_out

_SLOW, _SLOW_NOISE, _RESTS = (0.35, 0.7), 0.05, 0.02  # share of full speed, disturbance, chance of a rest
_TRIES = 10  # for each episode that is kept


class Demonstration(Rollout):
    """A rollout of a demonstrator."""

    @property
    def succeeded(self) -> bool:
        """Whether the task was done at the end."""
        return bool(self.success[-1])


def mixed_demonstrations(task: Task, count: int, seed: int, image_size: int = 128) -> list[Demonstration]:
    """``count`` episodes of mixed skill, half of which succeed on any task (of an odd number the larger half): skills
    are drawn between the expert and the least skilled (see disturbance), and what is beyond a half is left out.

    Raises:
        ConfigError: no expert knows the task, or hardly ever one succeeds, or fails.
    """
    room = {True: (count + 1) // 2, False: count // 2}

    def driver(rng: np.random.Generator) -> Demonstrator:
        return Demonstrator(task, float(disturbance(rng.random())), rng)

    def wanted(shown: Demonstration) -> bool:
        room[shown.succeeded] -= 1
        return room[shown.succeeded] >= 0

    return _kept(task, count, seed, image_size, driver, wanted)


def demonstrations(task: Task, noise: Sequence[float], seed: int, image_size: int = 128) -> list[Demonstration]:
    """One episode for each level of ``noise`` (see Demonstrator).

    Raises:
        ConfigError: no expert knows the task, or it has no scene.
    """
    rng, arm = np.random.default_rng(seed), SimArm(task, (image_size, image_size))

    def one(level: float, index: int) -> Demonstration:
        start = int(rng.integers(2**31))
        return demonstration(arm, task, Demonstrator(task, level, rng), start, index)

    try:
        return [one(float(level), index) for index, level in enumerate(noise)]
    finally:
        arm.close()


def slow_demonstrations(task: Task, count: int, seed: int, image_size: int = 128) -> list[Demonstration]:
    """``count`` episodes that succeed, of people who move at 0.35 to 0.7 of full speed, disturbed a little, with rests.

    Raises:
        ConfigError: no expert knows the task, or hardly ever one so slow succeeds in time.
    """

    def driver(rng: np.random.Generator) -> Demonstrator:
        return Demonstrator(task, _SLOW_NOISE, rng, float(rng.uniform(*_SLOW)), _RESTS)

    return _kept(task, count, seed, image_size, driver, lambda shown: shown.succeeded)


def _kept(
    task: Task,
    count: int,
    seed: int,
    image_size: int,
    driver: Callable[[np.random.Generator], Demonstrator],
    wanted: Callable[[Demonstration], bool],
) -> list[Demonstration]:
    """The first ``count`` episodes that are ``wanted``, numbered from 0. ConfigError: not found in so many tries."""
    rng, arm = np.random.default_rng(seed), SimArm(task, (image_size, image_size))
    found: list[Demonstration] = []
    try:
        for _ in range(_TRIES * count):
            shown = demonstration(arm, task, driver(rng), int(rng.integers(2**31)), len(found), image_size)
            if wanted(shown):
                found.append(shown)
            if len(found) == count:
                return found
    finally:
        arm.close()
    text = f"{task.name}: of {_TRIES * count} demonstrations {len(found)} were of use, {count} are wanted"
    raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task")


def rough_demonstrations(
    arm: SimArm, task: Task, count: int, seed: int, noise: float | None = None, image_size: int = 128
) -> list[Demonstration]:
    """``count`` episodes of people who are no experts, for the run of ``seed``; ``noise``: of all, None: three skills.
    ``image_size``: as of demonstration.

    Raises:
        ConfigError: no expert knows the task.
    """
    starts = np.random.SeedSequence([seed, 11]).generate_state(count)
    drivers = [rough_demonstrator(task, seed, index, noise) for index in range(count)]
    return [demonstration(arm, task, drivers[i], int(starts[i]), i, image_size) for i in range(count)]


def demonstration(
    arm: SimBackend, task: Task, driver: Demonstrator, seed: int, index: int, image_size: int = 128
) -> Demonstration:
    """One episode from the reset of ``seed``; images of named cameras are kept as squares of ``image_size`` px."""
    spaces = backend_spaces(arm, task, image_size)

    def drive(*_: object) -> np.ndarray:
        return driver.act(arm.state(), spaces.action.size)

    about = {"evaluation": False, "index": index, "actor_version": 0}
    return Demonstration(*roll_out(arm, spaces, task.episode_steps, task.control_hz, drive, seed=seed, **about))
