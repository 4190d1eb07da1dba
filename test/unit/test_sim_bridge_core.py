# SPDX-License-Identifier: Apache-2.0
"""Time, episodes and the lock-step handshake of sim_bridge, with a stand-in arm that only counts."""

import numpy as np

from erl_vlm_ros.control.command import ArmCommand
from erl_vlm_ros.sim.bridge import BridgeCore, LockStep


class Arm:
    control_period = 0.1

    def __init__(self):
        self.seeds, self.commands = [], []

    def reset(self, seed):
        self.seeds.append(seed)

    def apply(self, velocity, width, turn):
        self.commands.append((tuple(velocity), width))


def test_time_only_goes_forward():
    core = BridgeCore(Arm(), 1)
    stamps = [core.stamp]
    for _ in range(3):
        core.step(ArmCommand((0.1, 0, 0)))
        stamps.append(core.stamp)
    stamps.append(core.reset()["stamp"])
    core.step(ArmCommand((0, 0, 0)), stamp=5_000_000_000)
    stamps.append(core.stamp)
    core.step(ArmCommand((0, 0, 0)), stamp=4_000_000_000)  # the wall clock was set back
    stamps.append(core.stamp)
    assert stamps[:5] == [i * 100_000_000 for i in range(1, 6)]
    assert np.all(np.diff(stamps) > 0)


def test_the_first_reset_starts_episode_0_unless_the_arm_has_moved():
    core = BridgeCore(Arm(), 1)
    assert core.reset()["episode"] == 0
    assert core.reset()["episode"] == 1
    moved = BridgeCore(Arm(), 1)
    moved.step(ArmCommand((0, 0, 0)))
    assert moved.reset()["episode"] == 1


def test_seeds_come_from_run_seed_and_index():
    core = BridgeCore(Arm(), 1)
    seeds = [core.reset(episode_index=k)["seed"] for k in (0, 1, 2, 1)]
    assert seeds[1] == seeds[3] and len(set(seeds)) == 3
    assert seeds[0] == int(np.random.SeedSequence([1, 0]).generate_state(1)[0])
    assert BridgeCore(Arm(), 2).reset(episode_index=1)["seed"] != seeds[1]
    assert core.reset(episode_seed=99) == {"stamp": core.stamp, "seed": 99, "episode": -1}
    assert core.arm.seeds[-1] == 99
    assert core.reset()["episode"] == 2  # an evaluation does not use up training episodes


def test_lock_step_pairs_twist_and_width_in_any_order():
    lock = LockStep(needs_gripper=False)
    assert lock.answer(1, 0.0) is None
    lock.twist(1, (0.1, 0, 0))
    assert lock.answer(2, 0.0) is None
    assert lock.answer(1, 0.03) == ArmCommand((0.1, 0, 0), width=0.03)
    lock = LockStep(needs_gripper=True)
    lock.width(1, 0.02)
    assert lock.answer(1, 0.0) is None
    lock.twist(1, (0.1, 0, 0), (0, 0, 0.3))
    assert lock.answer(1, 0.0) == ArmCommand((0.1, 0, 0), (0, 0, 0.3), 0.02)
    lock.twist(2, (0.2, 0, 0))
    assert lock.answer(2, 0.0) is None  # the width is still of the step before


def test_time_begins_where_it_is_told_to():
    early, late = BridgeCore(Arm(), 1), BridgeCore(Arm(), 1, start_s=50)
    assert late.stamp - early.stamp == 50 * 10**9
