# SPDX-License-Identifier: Apache-2.0
"""The simulated tasks: solvable, random, with ground truth that orders states as described."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.oracle import Oracle
from erl_vlm_ros.sim.tasks import TASKS, make_task

TASK_NAMES = sorted(TASKS)


def run_oracle(arm: SimArm, seed: int) -> list:
    """States of an episode of the scripted policy, the start included."""
    arm.reset(seed)
    oracle, states = Oracle(arm.task.name), [arm.state()]
    for _ in range(arm.config.episode_steps):
        arm.apply(*oracle(states[-1]))
        states.append(arm.state())
    return states


@pytest.fixture(scope="module", params=TASK_NAMES)
def episodes(request):
    arm = SimArm(request.param)
    return arm.task, [run_oracle(arm, seed) for seed in range(500, 508)]


def test_scripted_policy_solves_it_in_time(episodes):
    task, runs = episodes
    for states in runs:
        assert task.success(states[-1]) and not task.success(states[0])
        assert next(k for k, s in enumerate(states) if task.success(s)) < 35


def test_classes_rise_along_a_solution(episodes):
    task, runs = episodes
    for states in runs:
        for n in (2, 3, 4, 5):
            classes = [task.truth_class(s, n) for s in states]
            assert set(classes) <= set(range(n))
            assert classes[0] <= (n > 3) and classes[-1] == n - 1  # the position may start near the object
            best = np.maximum.accumulate(classes)
            assert np.mean(np.array(classes) == best) > 0.9  # hardly ever falls back
        seen = {task.truth_class(s, 5) for s in states}
        assert {1, 4} <= seen and seen & {2, 3}


def test_progress_is_bounded_smooth_and_rises(episodes):
    task, runs = episodes
    for states in runs:
        progress = np.array([task.progress(s) for s in states])
        assert progress.min() >= 0 and progress.max() <= 1
        assert progress[-1] > 0.7 > 0.45 > progress[0]
        assert np.mean(progress[-10:]) > np.mean(progress[:5]) + 0.25


@pytest.mark.parametrize("name", TASK_NAMES)
def test_starts_are_random_and_unsolved(name):
    arm = SimArm(name)
    objects, positions = [], []
    for seed in range(30):
        arm.reset(seed)
        state = arm.state()
        assert arm.task.rung(state) <= 1 and arm.data.ncon <= 8
        arm.apply(np.zeros(3), arm.task.start_width)
        assert np.abs(arm.object_position - state.object_position).max() < 2e-3  # nothing starts inside anything
        objects.append(state.object_position)
        positions.append(state.ee_position)
    assert np.std(objects, axis=0)[:2].min() > 0.004 and np.std(objects, axis=0)[1] > 0.02
    assert np.std(positions, axis=0).min() > 0.008


@pytest.mark.parametrize("name", TASK_NAMES)
def test_goal_is_where_the_object_should_end(name):
    arm = SimArm(name)
    state = run_oracle(arm, 700)[-1]
    tolerance = 0.09 if name == "drawer_open" else 0.05  # the goal is the nominal cabinet's
    assert np.linalg.norm(state.object_position - load_task(name).goal) < tolerance


def test_drawer_limits():
    task, arm = make_task("drawer_open"), SimArm("drawer_open")
    base = arm.state()
    far, near = base.object_position - (0.08, 0, 0), base.object_position - (0.05, 0, 0)
    for opening, position, expected in (
        (0.0, far, 0),
        (0.0, near, 1),
        (0.014, far, 0),
        (0.016, far, 2),
        (0.079, near, 2),
        (0.081, far, 3),
        (0.171, far, 4),
    ):
        assert task.truth_class(replace(base, opening=opening, ee_position=position), 5) == expected
    along_the_bar = base.object_position + (0.0, 0.04, 0.02)
    assert task.truth_class(replace(base, opening=0.0, ee_position=along_the_bar), 5) == 1


def test_sweep_limits():
    task, arm = make_task("sweep_into"), SimArm("sweep_into")
    base = arm.state()
    for distance, position, expected in (
        (0.2, 0.2, 0),
        (0.2, 0.07, 1),
        (0.14, 0.2, 2),
        (0.1, 0.2, 3),
        (0.049, 0.2, 4),
    ):
        block = base.goal - (distance, 0, 0)
        state = replace(base, object_position=block, object_rotation=np.eye(3), ee_position=block - (position, 0, 0))
        assert task.truth_class(state, 5) == expected
        assert task.success(state) == (expected == 4)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_class_count_is_described(name):
    assert set(load_task(name).classes) == {2, 3, 4, 5}


def test_wrong_names_and_counts():
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="nonsense"):
        make_task("nonsense")
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows="nonsense"):
        Oracle("nonsense")
    with refused(ConfigError, parameter="n_classes"):
        make_task("drawer_open").truth_class(SimArm("drawer_open").state(), 6)
