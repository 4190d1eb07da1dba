# SPDX-License-Identifier: Apache-2.0
"""ControllerCore on a clock of the test's own: both pacings, pauses, labels, interventions; no DDS."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from erl_vlm_ros.agents.exploration import ExplorationConfig, RolloutPolicy
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.core import ControllerCore, ControllerSettings
from erl_vlm_ros.control.drivers import PERSON, StillPolicy
from erl_vlm_ros.control.episode_machine import Awaited, EpisodeMachine, LearnerStatus, Schedule
from erl_vlm_ros.control.intervention import JOY, HumanConfig, Intervention
from erl_vlm_ros.control.pacing import LockStep, RealTime
from erl_vlm_ros.control.ports import Observed
from erl_vlm_ros.control.recorder import EpisodeRecorder
from erl_vlm_ros.control.success_label import SuccessLabel
from erl_vlm_ros.control.teleoperation import Teleoperation
from erl_vlm_ros.data.spaces import spaces_of

TASK = load_task("drawer_open")
STEPS = TASK.episode_steps
SPACES = spaces_of(TASK, 6)
PERIOD = 100_000_000  # ns


class Actor:
    """Always the same action."""

    def act(self, observation, deterministic, rng):
        return np.array([0.5, -0.25, 0.0])


class World:
    """Clock, log, outputs, observations and resets in one object that the test moves by hand."""

    waiting, awaits = "the reset", Awaited.RESET

    def __init__(self, pacing, train=True, success_source="none", driver="policy", **schedule):
        self.time, self.lines = 100.0, []
        self.sent, self.still, self.episodes, self.states = [], 0, [], []
        self.missing, self.bad = "", False
        self.answer, self.cancelled, self.saved = None, 0, 0
        settings = ControllerSettings(32, 80, success_source, 0.0, 60.0, 1, driver)
        limits = {"max_steps": 10**6, "eval_every": 0, "eval_episodes": 1, "final_eval_episodes": 1, "eval_seed": 7}
        machine = EpisodeMachine(Schedule(**limits | schedule, train=train))
        self.device = Intervention(HumanConfig(input=JOY))
        policies = [RolloutPolicy(ExplorationConfig(), TASK, SPACES, seed) for seed in (3, 4)]
        if driver == PERSON:
            policies[0] = StillPolicy(SPACES.action, lambda: 0.0)
        self.core = ControllerCore(
            TASK, settings, machine=machine, pacing=pacing, rollout=policies[0], evaluator=policies[1],
            label=SuccessLabel(success_source, False), recorder=EpisodeRecorder(SPACES),
            teleoperation=Teleoperation(
                SPACES.action, self, self.device, lambda: np.eye(3), self, self, real_time=pacing.real_time
            ),
            observations=self, out=self, resets=self, clock=self, log=self, save=self.save,
            actor=(None, -1) if train else (Actor(), 12),
        )  # fmt: skip

    # clock and log
    def now(self):
        return self.time

    def stamp(self):
        return round(self.time * 1e9)

    def info(self, text, **_):
        self.lines.append(text)

    warning = error = info

    # outputs
    def command(self, action, stamp_ns):
        return (stamp_ns, tuple(np.round(action, 3).tolist())), (action[:3] * TASK.linear_speed).tolist()

    def send(self, command):
        self.sent.append(command)

    def stand_still(self):
        self.still += 1

    def episode(self, episode, machine, wall_s):
        self.episodes.append(episode)

    def state(self, summary):
        self.states.append(summary)

    def save(self):
        self.saved += 1

    # observations
    def problem(self, not_before):
        return self.missing or ("image is from before the reset" if self.stamp() < not_before else "")

    def take(self):
        return self.stamp(), {}

    def unpack(self, found):
        if self.bad:
            raise ValueError("a joint is not finite")
        return Observed(np.zeros(19, np.float32), np.zeros((32, 32, 3), np.uint8), np.zeros(0, np.float32))

    # resets
    def ready(self):
        return self.answer is None

    def start(self, seed, index, answer):
        self.answer = answer

    def go_on(self):
        return False

    def tick(self):
        return False

    def cancel(self):
        self.cancelled += 1
        self.answer = None

    # what happens
    def reset_done(self, stamp=-1):
        answer, self.answer = self.answer, None
        answer(True, "", stamp)

    def begin(self, budget=10**6, explore=False):
        self.core.set_armed(True)
        self.core.set_actor(LearnerStatus(1, 0, 0, budget, explore, True), Actor())
        if self.answer is not None:
            self.reset_done()

    def run(self, ticks):
        for _ in range(ticks):
            self.time += 0.1
            self.core.tick()


def test_lock_step_answers_each_stamp_once_and_repeats_the_same_answer():
    world = World(LockStep())
    world.begin()
    for stamp in (PERIOD, PERIOD, 2 * PERIOD):
        world.core.observed(stamp, {})
    assert [command[0] for command in world.sent] == [PERIOD, PERIOD, 2 * PERIOD]
    assert world.sent[0] == world.sent[1]  # the repeated stamp: nothing was decided anew
    assert world.core.recorder.steps == 1


def test_lock_step_answers_what_came_before_the_reset_was_reported():
    world = World(LockStep())
    world.core.set_armed(True)
    world.core.set_actor(LearnerStatus(1, 0, 0, 9, False, True), Actor())
    world.core.observed(5 * PERIOD, {})
    assert world.sent == []
    world.reset_done(5 * PERIOD)
    assert [command[0] for command in world.sent] == [5 * PERIOD]


def test_lock_step_loses_the_episode_when_time_goes_back():
    world = World(LockStep())
    world.begin()
    world.core.observed(9 * PERIOD, {})
    world.core.observed(PERIOD, {})
    assert world.cancelled == 1 and world.core.recorder.steps == 0 and not world.core.machine.running
    world.reset_done(2 * PERIOD)  # it is planned again at once
    world.core.observed(2 * PERIOD, {})
    assert world.sent[-1][0] == 2 * PERIOD and world.episodes == []


def test_an_episode_ends_by_its_steps_and_is_saved_after():
    world = World(LockStep())
    world.begin(budget=1)
    for step in range(STEPS + 1):
        world.core.observed((step + 1) * PERIOD, {})
    (episode,) = world.episodes
    assert (episode.steps, episode.index, episode.actor_version) == (STEPS, 0, 1)
    assert len(world.sent) == STEPS and world.saved == 1
    assert world.states[-1]["env_steps"] == STEPS and world.states[-1]["detail"] == "waiting"


def test_real_time_holds_still_over_a_gap_and_splits_the_episode():
    world = World(RealTime())
    world.begin()
    world.run(4)
    world.missing = "image is 0.9 s old"
    world.run(6)
    assert world.still == 6 and world.core.holding == "image"
    world.core.housekeeping()
    assert world.states[-1]["awaits"] == "observations" and "image" in world.states[-1]["waiting_for"]
    world.missing = ""
    world.run(STEPS + 1)
    before, after = world.episodes[:2]
    assert (before.steps, before.index) == (3, 0) and after.index == 1
    assert all(np.diff(e.stamps).max() < 2 * PERIOD for e in (before, after))  # no transition spans the gap


def test_a_reset_that_does_not_tell_its_stamp_lets_no_old_frame_in():
    world = World(RealTime())
    world.begin()
    world.time -= 0.5  # frames that were taken before the reset
    world.core.tick()
    assert world.sent == [] and world.still == 1


@pytest.mark.parametrize("pacing", [LockStep, RealTime])
def test_nothing_is_commanded_while_paused(pacing):
    world = World(pacing())
    world.begin()
    if pacing is RealTime:
        world.run(3)
    else:
        world.core.observed(PERIOD, {})
        world.core.observed(2 * PERIOD, {})
    sent = len(world.sent)
    assert world.core.person_pauses(True)[0] and world.states[-1]["paused"]
    world.core.observed(3 * PERIOD, {})
    world.run(5)
    assert len(world.sent) == sent
    assert world.still == (6 if pacing is RealTime else 0)  # once at the pause, then at each tick
    assert [e.steps for e in world.episodes] == ([2] if pacing is RealTime else [])
    world.core.person_pauses(False)
    world.time += 0.1
    world.core.tick()
    world.core.observed(3 * PERIOD, {})
    assert len(world.sent) == sent + 1


def test_an_observation_that_cannot_be_used_is_not_answered():
    world = World(LockStep())
    world.begin()
    world.bad = True
    world.core.observed(PERIOD, {})
    assert world.sent == [] and world.core.holding
    world.bad = False
    world.core.observed(2 * PERIOD, {})
    assert len(world.sent) == 1


def test_disarming_publishes_what_is_complete_and_stops():
    world = World(LockStep())
    world.begin()
    for step in range(5):
        world.core.observed((step + 1) * PERIOD, {})
    world.core.set_armed(False)
    assert [e.steps for e in world.episodes] == [4] and world.states[-1]["detail"] == "disarmed"
    world.core.observed(9 * PERIOD, {})
    assert len(world.sent) == 5


def evaluate(**options):
    world = World(RealTime(), train=False, final_eval_episodes=1, **options)
    world.core.set_armed(True)
    world.core.housekeeping()
    world.reset_done()
    return world


def test_an_evaluation_episode_waits_for_its_label_while_the_arm_is_held():
    world = evaluate(success_source="person")
    world.run(STEPS + 1)
    assert world.core.awaits_label and world.episodes == [] and world.still == 1
    world.run(3)
    assert world.still == 4
    assert world.core.person_labels(True)[0]
    assert [e.success for e in world.episodes] == [True] and world.core.machine.finished


def test_a_label_that_does_not_come_counts_as_none():
    world = evaluate(success_source="person")
    world.run(STEPS + 1)
    world.time += 61.0
    world.core.housekeeping()
    assert [e.success for e in world.episodes] == [None] and world.core.machine.finished


def hold_stick(world, axis=1.0):
    buttons = [0, 0, 0, 0, 1]
    world.device.joy([0.0, axis, 0.0, 0.0], buttons, world.time)
    world.core.person_moved()


def test_an_intervention_takes_the_place_of_the_action_in_training():
    world = World(RealTime())
    world.begin()
    world.device.joy([0.0] * 4, [0] * 5, world.time)
    world.run(2)
    world.time += 0.02
    hold_stick(world)
    world.teleoperation = world.core.teleoperation
    assert world.teleoperation.active(world.time) and len(world.sent) == 3  # at once, not at the next tick
    world.time += 0.08
    world.core.tick()
    driven = world.core.recorder._driven
    assert driven[-2:] == [True, False]


def test_a_persons_episode_begins_with_the_first_motion_and_waits_for_its_label():
    world = World(RealTime(), driver=PERSON, success_source="person")
    world.begin(explore=True)
    world.device.joy([0.0] * 4, [0] * 5, world.time)
    world.run(20)
    world.core.housekeeping()
    assert world.states[-1]["awaits"] == "person" and world.still == 20
    assert world.sent == [] and world.core.episode_age_s == 0.0 and world.core.recorder.steps == 0
    hold_stick(world)
    world.run(3)
    world.device.joy([0.0] * 4, [0] * 5, world.time)  # lets go: it stands still, and that is recorded
    world.run(STEPS)
    assert world.core.awaits_label and world.episodes == []
    assert world.core.person_labels(True)[0]
    (episode,) = world.episodes
    assert episode.success and episode.steps == STEPS and not episode.evaluation
    assert episode.intervention[:2].all() and not episode.intervention[4:].any()
    assert not episode.actions[4:].any() and episode.actions[1].any()


def test_a_persons_episode_is_kept_when_the_arm_is_disarmed_in_place_of_a_label():
    world = World(RealTime(), driver=PERSON, success_source="person")
    world.begin(explore=True)
    world.device.joy([0.0] * 4, [0] * 5, world.time)
    hold_stick(world)
    world.run(STEPS + 1)
    assert world.core.awaits_label
    world.core.set_armed(False)
    assert [(e.success, e.steps) for e in world.episodes] == [(None, STEPS)]
    assert world.core.machine.env_steps == STEPS and not world.core.machine.armed


def test_an_evaluation_episode_with_an_intervention_is_run_again():
    world = evaluate()
    world.device.joy([0.0] * 4, [0] * 5, world.time)
    world.run(2)
    hold_stick(world)
    world.run(STEPS)
    assert world.episodes == [] and not world.core.machine.finished


def test_a_failed_reset_is_told_and_nothing_starts():
    world = World(LockStep())
    world.core.set_armed(True)
    world.core.set_actor(LearnerStatus(1, 0, 0, 9, False, True), Actor())
    answer, world.answer = world.answer, None
    answer(False, "the gripper is jammed", -1)
    assert world.states[-1]["state"] == "failed" and "jammed" in world.states[-1]["waiting_for"]
    world.core.observed(PERIOD, {})
    assert world.sent == [] and world.answer is None


def test_the_control_process_never_loads_torch(tmp_path):
    code = (
        "import sys\n"
        "from types import SimpleNamespace as N\n"
        "import numpy as np\n"
        "import erl_vlm_ros.control.core\n"
        "from erl_vlm_ros.control import controller_checkpoint as c\n"
        "part = N(state_dict=lambda: {'rng': np.random.default_rng(1).bit_generator.state, 'a': np.ones(3)},\n"
        "         load_state_dict=lambda state: None)\n"
        f"c.save({str(tmp_path)!r}, part, part, part)\n"
        f"c.restore({str(tmp_path)!r}, part, part, part)\n"
        "assert not any(name.partition('.')[0] == 'torch' for name in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_settings_are_named_like_the_parameters():
    from erl_vlm_ros.params.tables import PARAMETERS

    known = {param.name for param in PARAMETERS["policy_controller"]}
    assert set(ControllerSettings.__dataclass_fields__) <= known
