# SPDX-License-Identifier: Apache-2.0
"""The guard as a whole without ROS: what stops it, what it refuses, and 100 000 commands that mean no good."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.params.param import resolve
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.safety.config import COMMAND, DEADMAN, EE, HEARTBEAT, HOME, JOINTS, REPETITION, WRENCH, guard_limits
from erl_vlm_ros.safety.core import GuardCore
from erl_vlm_ros.safety.faults import Fault, Halt, Unready

TASK = load_task("drawer_open")
INSIDE = (0.45, 0.0, 0.2)
NS = 1_000_000_000
BOX = [0.4, -0.1, 0.1, 0.5, 0.1, 0.25]  # m, around INSIDE
DT = 0.02
CAREFUL = {"max_speed": 0.25, "max_acceleration": 8.0, "max_jerk": 400.0}


def parameters(**changes):
    values = resolve("safety_guard", PARAMETERS["safety_guard"], {"lock_step": False} | changes)
    return SimpleNamespace(**values)


def unready(core, now):
    refusal = core.arm(True, now)
    return refusal.why, refusal.source


class Run:
    """A core, its clock, and an arm that does what is commanded; every source speaks at each tick unless muted."""

    def __init__(self, arm=True, velocity=(0.2, 0.0, 0.0), at=INSIDE, **changes):
        self.core = GuardCore(guard_limits(parameters(**changes), TASK))
        self.now, self.at, self.velocity = 50.0, at, velocity
        self.muted, self.joints, self.buttons = set(), {"joint1": 0.0}, [0, 1]
        self.force = (0.0, 0.0, 0.0)
        self.motion = None
        self.tick(2)
        if arm:
            assert self.core.arm(True, self.now) is None

    @property
    def clock(self):
        return 10**15 + round(self.now * NS)

    def hear(self):
        core, clock, now = self.core, self.clock, self.now
        heard = core.limits.timeouts
        speak = {
            "ee_pose": lambda: core.inputs.update_pose(self.at, "base_link", clock, clock, now),
            "joint_states": lambda: core.inputs.update_joints(self.joints, clock, clock, now),
            "policy command": lambda: core.command(self.velocity, (0.0,) * 3, "base_link", clock, clock, now),
            "camera": lambda: core.inputs.update_camera(now),
            "heartbeat": lambda: core.inputs.update_heartbeat(True, now),
            "joy": lambda: core.inputs.update_joy(self.buttons, now),
            "wrench": lambda: core.inputs.update_wrench(self.force, (0.0,) * 3, now),
        }
        for source, say in speak.items():
            if source not in self.muted and (source in heard):
                say()

    def tick(self, count=1):
        for _ in range(count):
            self.hear()
            self.motion = self.core.tick(self.now)
            self.now += DT
            self.at = tuple(p + v * DT for p, v in zip(self.at, self.motion.linear))
        return self.motion

    def still_after(self, most=2.0):
        """Seconds until nothing moves any more."""
        began = self.now
        while self.now - began < most:
            if not any(self.tick().linear):
                return self.now - began
        raise AssertionError(f"still moving: {self.motion}")


def stopped_by(motion, halt, source):
    return (motion.halt, motion.source) == (halt, source)


def test_starts_disarmed_sends_zeros_for_a_second_and_then_leaves_the_arm_alone():
    run = Run(arm=False)
    assert run.motion.kind == "stop" and run.motion.halt is Halt.DISARMED
    run.tick(round(1.1 / DT))
    assert run.motion.kind == "nothing"
    run.core.arm(True, run.now)
    assert run.tick(2).kind == "move"
    run.core.arm(False, run.now)
    run.still_after()
    assert run.motion.kind == "stop"
    assert run.tick(round(1.1 / DT)).kind == "nothing"


def test_motion_keeps_the_limits_from_step_to_step():
    run = Run(**CAREFUL)
    speeds = [run.tick().linear[0] for _ in range(20)]
    assert speeds[-1] == pytest.approx(0.2)
    assert all(0 <= b - a <= 8.0 * DT for a, b in zip(speeds, speeds[1:]))
    assert run.core.counts["limited"] > 0 and run.core.reasons["acceleration"] > 0


ALL = {"camera_timeout_s": 0.4, "deadman_button": 1, "max_force": 30.0, "heartbeat_timeout_s": 0.5}


@pytest.mark.parametrize("limits", [{}, CAREFUL])
@pytest.mark.parametrize(
    "source, limit", [("policy command", 0.15), ("joint_states", 0.3), ("ee_pose", 0.3), ("camera", 0.4), ("joy", 0.3)]
)
def test_silence_beyond_its_limit_stops_within_100_ms_and_does_not_latch(source, limit, limits):
    run = Run(velocity=(0.1, 0.0, 0.0), **ALL, **limits)
    run.tick(20)
    assert run.motion.linear[0] == pytest.approx(0.1)
    run.muted.add(source)
    assert run.still_after() <= limit + 0.1 + DT
    assert stopped_by(run.motion, Halt.SILENT, source) and run.motion.kind == "stop"
    run.muted.clear()
    run.tick(10)
    assert run.motion.kind == "move" and run.core.watchdog.state == "armed"


def test_a_policy_that_dies_between_two_commands_is_noticed_by_its_missing_repetitions():
    run = Run(command_gap_s=0.05)
    run.tick(5)
    run.muted.add("policy command")
    stamp = run.clock
    run.core.command((0.2, 0.0, 0.0), (0.0,) * 3, "base_link", stamp, run.clock, run.now)
    for _ in range(5):  # alive, and the command is still young
        run.core.command((0.9, 0.9, 0.9), (0.0,) * 3, "base_link", stamp, run.clock, run.now)
        assert run.tick().linear == (0.2, 0.0, 0.0)  # a repetition changes nothing
    assert run.still_after() <= 0.05 + 2 * DT
    assert stopped_by(run.motion, Halt.SILENT, REPETITION)
    run.core.command((0.2, 0.0, 0.0), (0.0,) * 3, "base_link", run.clock, run.clock, run.now)
    stamp = run.clock
    for _ in range(20):  # alive, but with nothing new to say
        run.core.command((0.2, 0.0, 0.0), (0.0,) * 3, "base_link", stamp, run.clock, run.now)
        run.tick()
    assert run.motion.kind == "stop" and stopped_by(run.motion, Halt.SILENT, COMMAND)


def test_a_repetition_does_not_end_the_way_home():
    run = lifting(Lift(way=1.0))
    stamp = run.clock
    run.core.command((0.1, 0.0, 0.0), (0.0,) * 3, "base_link", stamp, run.clock, run.now)
    run.core.home(Lift(way=1.0), run.now)
    run.core.command((0.1, 0.0, 0.0), (0.0,) * 3, "base_link", stamp, run.clock, run.now)
    assert run.tick().kind == "joints"


def test_a_silent_heartbeat_locks_until_cleared_and_armed():
    run = Run(**ALL)
    run.tick(10)
    run.muted.add("heartbeat")
    assert run.still_after() <= 0.5 + 0.1 + DT
    run.muted.clear()
    assert run.tick(50).halt is Halt.LATCHED and run.core.watchdog.fault is Fault.HEARTBEAT
    assert run.core.arm(True, run.now).why is Unready.LATCHED
    assert run.core.watchdog.clear_estop() and run.tick().halt is Halt.DISARMED
    assert run.core.arm(True, run.now) is None and run.tick(2).kind == "move"
    run.core.inputs.update_heartbeat(False, run.now)
    assert run.tick(10).halt is Halt.LATCHED and run.core.watchdog.fault is Fault.HEARTBEAT


def test_without_a_heartbeat_it_does_not_arm():
    run = Run(arm=False, **ALL)
    run.muted.add("heartbeat")
    run.tick(50)
    assert unready(run.core, run.now) == (Unready.SILENT, HEARTBEAT)


def test_the_dead_man_button_must_be_held_and_exist():
    run = Run(**ALL)
    assert run.tick(5).kind == "move"
    run.buttons = [1, 0]
    assert stopped_by(run.tick(8), Halt.HELD, DEADMAN) and run.motion.kind == "stop"
    run.buttons = [0, 1]
    assert run.tick(2).kind == "move"
    run.buttons = [1]
    assert stopped_by(run.tick(8), Halt.HELD, DEADMAN) and "deadman_button" in run.motion.why


@pytest.mark.parametrize("force", [(0.0, 25.0, 25.0), (31.0, 0.0, 0.0)])
def test_too_much_force_latches(force):
    run = Run(**ALL)
    run.force = (20.0, 20.0, 0.0)
    assert run.tick(5).kind == "move"
    run.force = force
    assert run.still_after() <= 0.1 + DT
    run.force = (0.0, 0.0, 0.0)
    assert run.tick(20).halt is Halt.LATCHED and run.core.watchdog.fault is Fault.FORCE
    assert "max_force 30 N" in run.motion.why


def test_a_wrench_that_is_no_number_is_silence():
    run = Run(**ALL)
    run.force = (float("nan"), 0.0, 0.0)
    run.tick(5)
    assert run.still_after() <= 0.3 + 0.1 + DT
    assert stopped_by(run.motion, Halt.SILENT, WRENCH)


def test_old_future_and_returning_stamps_are_no_sign_of_life_and_the_reason_says_so():
    run = Run()
    run.tick(5)
    run.muted.add("policy command")
    core = run.core
    for off, text in ((-1, "1.000 s old"), (1, "1.000 s in the future")):
        problem = core.command((0.1, 0, 0), (0, 0, 0), "base_link", run.clock + off * NS, run.clock, run.now)
        assert text in problem
    assert core.command((0.1, 0, 0), (0, 0, 0), "base_link", run.clock, run.clock, run.now) == ""
    assert "goes back" in core.command((0.1, 0, 0), (0, 0, 0), "base_link", run.clock - 10**7, run.clock, run.now)
    run.tick(20)
    assert stopped_by(run.motion, Halt.SILENT, COMMAND) and "stamp" in run.motion.why
    assert core.counts["rejected"] == 3


@pytest.mark.parametrize(
    "changes, at, joints, why, shows",
    [
        ({}, (0.2, 0.0, 0.2), None, Unready.OUTSIDE, ("[0.200, 0.000, 0.200]", "drawer_open.yaml")),
        ({"forbidden_boxes": BOX}, INSIDE, None, Unready.FORBIDDEN, ("forbidden_boxes[0]",)),
        ({"controller_joints": ["shoulder"]}, INSIDE, None, Unready.INPUT, ("shoulder", "joint1", "controller_joints")),
        ({"controller_joints": ["joint1"]}, INSIDE, {"joint1": float("nan")}, Unready.INPUT, ("joint1", "nan")),
        ({"joint_margin": 0.1}, INSIDE, None, Unready.NO_LIMITS, ("joint_margin", "URDF")),
    ],
)
def test_arming_is_refused_with_the_reason(changes, at, joints, why, shows):
    run = Run(arm=False, at=at, **changes)
    if joints:
        run.joints = joints
    run.tick(5)
    refusal = run.core.arm(True, run.now)
    assert refusal.why is why
    assert all(value in refusal.text for value in shows)
    assert run.tick(5).linear == (0.0, 0.0, 0.0)


def test_arming_needs_states_in_the_right_frame():
    core = GuardCore(guard_limits(parameters(), TASK))
    assert unready(core, 0.0) == (Unready.SILENT, EE)
    core.inputs.update_pose(INSIDE, "tool0", 0, 0, 0.0)
    assert unready(core, 0.0) == (Unready.INPUT, EE)
    core.inputs.update_pose(INSIDE, "base_link", 0, 0, 0.0)
    assert unready(core, 0.0) == (Unready.SILENT, JOINTS)


def test_a_joint_near_its_limit_slows_and_stops_the_arm():
    run = Run(joint_margin=0.1, controller_joints=["joint1"], joint_lower=[-1.0], joint_upper=[1.0])
    run.tick(3)
    run.joints = {"joint1": 0.85}
    assert run.tick().linear[0] == pytest.approx(0.1) and run.motion.limited[0].startswith("joint 'joint1'")
    run.joints = {"joint1": 0.95}
    assert run.tick().linear[0] == 0.0 and run.motion.limited[0].startswith("joint 'joint1'")
    run.velocity = (-0.2, 0.0, 0.0)
    assert run.tick().linear[0] == pytest.approx(-0.2)


def test_lock_step_watches_the_joints_too_under_the_stamps_of_the_simulation():
    limits = {"joint_margin": 0.1, "controller_joints": ["joint1"], "joint_lower": [-1.0], "joint_upper": [1.0]}
    core = GuardCore(guard_limits(parameters(lock_step=True, **limits), TASK))
    command = ((0.2, 0.0, 0.0), (0.0, 0.0, 0.0), "base_link", INSIDE)
    assert core.answer(*command).linear == (0.0, 0.0, 0.0)
    assert core.inputs.update_joints({"joint1": 0.0}, 5, 10**15, 50.0) == ""
    assert core.answer(*command).linear == (0.2, 0.0, 0.0)
    core.inputs.update_joints({"joint1": 0.85}, 6, 10**15, 50.0)
    assert core.answer(*command).linear[0] == pytest.approx(0.1)


class Lift:
    """A homing that moves the joint ``z``, which lifts the tool, up by ``way`` m; and its kinematics."""

    joint_names = ("z",)
    lower, upper, velocity = (-9.0,), (9.0,), (1.0,)

    def __init__(self, speed=0.1, way=0.03):
        self.left, self.speed = way, speed
        self.kinematics, self.target = self, np.array([0.2 + way])

    def moved(self, speed):
        """Driven by the test's own speed."""

    @staticmethod
    def jacobian(q):
        return np.array([[0, 0, 1, 0, 0, 0]]).T

    @staticmethod
    def vector(values):
        return np.array([values["z"]])

    def step(self, positions, dt):
        self.left -= self.speed * dt
        return {"z": self.speed} if self.left > 0 else None


class Turn(Lift):
    """The same, but the joint turns the tool about the vertical and moves it nowhere."""

    @staticmethod
    def jacobian(q):
        return np.array([[0, 0, 0, 0, 0, 1]]).T


def lifting(lift, **changes):
    run = Run(velocity=(0.0, 0.0, 0.0), home_timeout_s=0.1, pose_tolerance_m=0.0, pose_tolerance_rad=0.0, **changes)
    run.joints = {"joint1": 0.0, "z": 0.2}
    run.core.inputs.adopt(lift)
    run.tick(2)
    run.muted.add("policy command")
    run.core.home(lift, run.now)
    return run


def test_homing_moves_the_joints_until_it_is_there():
    run = lifting(Lift())
    for _ in range(14):
        run.core.home(None, run.now)
        assert run.tick().kind == "joints" and run.motion.joints == {"z": 0.1}
        assert run.motion.linear == pytest.approx((0.0, 0.0, 0.1))
    run.core.home(None, run.now)
    assert run.tick().halt is Halt.HOME and run.motion.kind == "stop"


def test_homing_ends_when_nobody_asks_any_more_or_a_command_comes():
    run = lifting(Lift(way=1.0))
    run.tick(3)
    assert run.motion.kind == "joints"
    assert run.still_after() <= 0.1 + 0.1 + DT
    assert stopped_by(run.motion, Halt.SILENT, HOME)
    run = lifting(Lift(way=1.0))
    run.muted.clear()
    run.velocity = (0.1, 0.0, 0.0)
    assert run.tick(2).kind == "move" and run.motion.linear == (0.1, 0.0, 0.0)


@pytest.mark.parametrize("command", [False, True])
@pytest.mark.parametrize("rotation", [{}, {"max_angular_speed": 1.0}, {"max_angular_speed": 0.3}])
def test_a_turn_on_the_way_home_begins_and_ends_within_its_acceleration(command, rotation):
    run = lifting(Turn(speed=0.8, way=9.0), **rotation)
    limit = run.core.limits.home_turn
    turns = []
    for _ in range(20):
        run.core.home(None, run.now)
        turns.append(run.tick().angular[2])
    assert run.motion.kind == "joints" and run.motion.joints["z"] == pytest.approx(turns[-1])
    assert turns[-1] == pytest.approx(min(0.5, rotation.get("max_angular_speed", 9.0)))
    if command:  # else the request is not repeated
        run.muted.clear()
    while turns[-1] and len(turns) < 60:
        turns.append(run.tick().angular[2])
    assert turns[-1] == 0.0 and run.core.turning_home is False
    assert max(abs(np.diff([0.0, *turns]))) <= limit.max_acceleration * DT
    stop = sum(turn < turns[19] - 1e-6 for turn in turns[20:])
    assert 2 <= stop <= 0.1 / DT


def test_homing_keeps_the_envelope_of_the_tool():
    run = lifting(Lift(speed=0.8, way=9.0), max_speed=0.2)
    run.core.home(None, run.now)
    assert run.tick().joints == {"z": pytest.approx(0.2)}
    for _ in range(60):
        run.core.home(None, run.now)
        run.tick()
    assert TASK.workspace_max[2] - 0.001 < run.at[2] <= TASK.workspace_max[2]
    assert run.motion.joints["z"] < 1e-3 and "box" in run.motion.limited


@pytest.mark.parametrize(
    "changes, fields",
    [
        (
            {"command_timeout_s": 0.1},
            {
                "parameter": "safety_guard.command_timeout_s",
                "code": Code.DOES_NOT_FIT,
                "file": TASK.path,
                "shows": "0.1",
            },
        ),
        ({"horizon_s": 0.015}, {"parameter": "safety_guard.horizon_s", "code": Code.DOES_NOT_FIT, "shows": "0.015"}),
        (
            {"max_acceleration": 1.0},
            {
                "parameter": "safety_guard.max_acceleration",
                "code": Code.DOES_NOT_FIT,
                "shows": ("max_jerk", "stop_within_s 0.1"),
            },
        ),
        (
            {"max_angular_speed": 1.0, "max_angular_acceleration": 2.0},
            {"parameter": "safety_guard.max_angular_acceleration", "code": Code.DOES_NOT_FIT},
        ),
        ({"forbidden_boxes": [1.0] * 5}, {"parameter": "safety_guard.forbidden_boxes"}),
        (
            {"joint_margin": 0.1, "controller_joints": ["a", "b"], "joint_lower": [-1.0], "joint_upper": [1.0]},
            {"parameter": "safety_guard.controller_joints", "code": Code.DOES_NOT_FIT},
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused_at_start(changes, fields):
    with refused(ConfigError, **fields):
        guard_limits(parameters(**changes), TASK)


@pytest.mark.slow
def test_hundred_thousand_hostile_commands_break_no_promise():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "envelope_soak.py"
    spec = importlib.util.spec_from_file_location("envelope_soak", path)
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    for seed, profile in enumerate(soak.PROFILES):
        result = soak.Soak(seed, profile).run(25_000)
        assert result["motions"]["move"] > 3000  # it moved most of the time, so there was something to break
        assert 0.99 < result["worst"]["linear speed"] <= 1.0
