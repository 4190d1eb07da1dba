# SPDX-License-Identifier: Apache-2.0
"""Errors inside the guard, and messages with any number in any field: what reaches the arm's topics?

The real safety_guard node runs in this process on a clock of the benchmark's own, in front of each kind of driver, with
an arm that obeys what is sent. While the arm moves

- an exception is raised at every single call that a tick and the callbacks make, one after the other;
- every field of every message that the guard listens to is replaced by nan, infinities, type limits, wrong lengths, and
  unknown names.

Counted: commands that were not finite or outside the envelope (must be 0), injected errors that were not followed by
the last-resort stop and a latched fault, and the time from the error to that stop. The last line printed is JSON.

    python benchmarks/guard_faults.py [--adapters servo_twist ...] [--every 1]
"""

from __future__ import annotations

import argparse
import array
import copy
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import WrenchStamped
from rclpy.logging import LoggingSeverity
from sensor_msgs.msg import CameraInfo, Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

import erl_vlm_ros
from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.nodes import safety_guard
from erl_vlm_ros.robot.drivers import ADAPTERS
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import quaternion
from erl_vlm_ros.ros import convert, guard_sources, guard_state, guarded_node
from erl_vlm_ros.ros.adapters import base, joints
from erl_vlm_ros.safety.faults import Fault
from erl_vlm_ros.safety.watchdog import ESTOPPED
from erl_vlm_ros.sim.urdf import arm_urdf

TASK = "drawer_open"
PERIOD = 0.01  # s
MAX_SPEED = 0.25  # m/s
MAX_TURN = 0.5  # rad/s
READY = np.array([0.0, 0.2, 1.9, 0.0, 1.04, 0.0])  # above the middle of the workspace, pointing down
MIDDLE = np.array([0.45, -0.05, 0.18])  # m, where the motion starts
VELOCITY = (0.05, 0.1, 0.05)  # m/s, what the policy keeps asking for
TIMED = (safety_guard, joints, base, guard_sources, guard_state, guarded_node)  # modules that ask for the time
PACKAGE = str(Path(erl_vlm_ros.__file__).parent)
NUMBERS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, -1.0, 1e6)
INTEGERS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


class Injected(Exception):
    """Raised by the benchmark in the middle of the guard."""


class Clock:
    """Stands for the module ``time`` in the guard's modules."""

    def __init__(self) -> None:
        self.s = 1e8  # later than any machine has been up: a real time among these is old, and seen

    def monotonic(self) -> float:
        return self.s

    def sleep(self, seconds: float) -> None:
        self.s += seconds

    def time_ns(self) -> int:
        return round(self.s * 1e9)


class Cell:
    """A guard, and an arm that does what it is sent."""

    def __init__(self, adapter: str, folder: Path) -> None:
        urdf = folder / "arm.urdf"
        urdf.write_text(arm_urdf(TASK))
        given = {
            "task": TASK, "lock_step": False, "adapter": adapter, "urdf_file": str(urdf), "rate_hz": 1.0 / PERIOD,
            "max_speed": MAX_SPEED, "max_acceleration": 8.0, "max_jerk": 400.0, "max_angular_speed": MAX_TURN,
            "joint_margin": 0.05, "camera_timeout_s": 0.5, "heartbeat_timeout_s": 0.5, "deadman_button": 0,
            "max_force": 50.0, "command_timeout_s": 0.15, "realtime_priority": 0, "gripper": "position",
            "watchdog.use": "off",
        }  # fmt: skip
        words = [f"-p {key}:={json.dumps(value)}" for key, value in given.items()]
        rclpy.init(args=["--ros-args", *" ".join(words).split()])
        self.clock = Clock()
        for module in TIMED:
            module.time = self.clock
        self.node = safety_guard.SafetyGuard()
        self.node._clock_ns = self.clock.time_ns
        self.node.get_logger().set_level(LoggingSeverity.FATAL)
        self.arm = Kinematics.from_file(str(urdf), "base_link", "tool0")
        self.task, self.adapter = load_task(TASK), adapter
        self.callbacks = {sub.topic_name.lstrip("/"): sub.callback for sub in self.node.subscriptions}
        self.home = self._reach(MIDDLE)
        self.q = self.home.copy()
        self.sent: list[Any] = []
        self.sent_at = 0.0  # of the newest, perf_counter
        self.wrong: list[str] = []
        driver = self.node.adapter._publisher
        publish = driver.publish

        def record(message: Any) -> None:
            self.sent_at = time.perf_counter()
            self.sent.append(message)
            publish(message)

        driver.publish = record
        self.instead: dict[str, Any] = {}  # topic -> message that takes the place of the good one

    def _reach(self, position: np.ndarray) -> np.ndarray:
        """Joints with which the tool is at ``position`` m and points as in READY."""
        q = READY.copy()
        for _ in range(60):
            away = position - self.arm.forward(q)[0]
            q = q + np.linalg.pinv(self.arm.jacobian(q)) @ np.array([*away, 0.0, 0.0, 0.0])
        return q

    # -- the world

    def messages(self) -> dict[str, Any]:
        """Topic -> what is said in this period; all as it should be."""
        now = self.clock.time_ns()
        position, rotation = self.arm.forward(self.q)
        state = convert.joint_message(self.arm.joint_names, self.q.tolist(), [0.0] * len(self.q), now)
        wrench, info, joy = WrenchStamped(), CameraInfo(), Joy(buttons=[1])
        convert.set_stamp(wrench.header.stamp, now)
        return {
            names.JOINT_STATES: state,
            names.EE_POSE: convert.pose_message(position, quaternion(rotation), now, "base_link"),
            names.POLICY_TWIST: convert.twist_message(VELOCITY, now, "base_link"),
            names.POLICY_GRIPPER: convert.width_message(0.04, now),
            names.CAMERA_INFO: info, names.HEARTBEAT: Bool(data=True), names.JOY: joy, names.WRENCH: wrench,
        }  # fmt: skip

    def home_request(self) -> JointTrajectory:
        point = JointTrajectoryPoint(positions=self.home.tolist())
        return JointTrajectory(joint_names=list(self.arm.joint_names), points=[point])

    def period(self) -> None:
        """Messages in, one tick, and the arm moves."""
        for topic, message in self.messages().items():
            self.callbacks[topic](self.instead.pop(topic, message))
        for topic, message in list(self.instead.items()):
            self.callbacks[topic](message)
        self.instead.clear()
        before = len(self.sent)
        self.clock.s += PERIOD
        self.node._tick_callback()
        for message in self.sent[before:]:
            self._judge(message)
        self._obey(self.sent[-1] if len(self.sent) > before else None)

    def _obey(self, message: Any) -> None:
        if message is None:
            return
        if self.adapter == "servo_twist":
            twist = np.array([*convert.linear_of(message), *convert.angular_of(message)])
            self.q = self.q + np.linalg.pinv(self.arm.jacobian(self.q), rcond=1e-2) @ twist * PERIOD
        elif self.adapter == "joint_velocity":
            self.q = self.q + np.array(message.data) * PERIOD
        else:
            aim = np.array(message.data if self.adapter == "joint_position" else message.points[0].positions)
            self.q = self.q + np.clip(aim - self.q, -0.02, 0.02)

    def _judge(self, message: Any) -> None:
        """Whether a command may leave: finite, and not faster or further than the envelope."""
        if self.adapter == "servo_twist":
            linear, angular = convert.linear_of(message), convert.angular_of(message)
            good = all(map(math.isfinite, (*linear, *angular)))
            good = good and math.hypot(*linear) <= MAX_SPEED * 1.001 and math.hypot(*angular) <= MAX_TURN * 1.001
        elif self.adapter == "joint_velocity":
            rates = np.array(message.data)
            good = rates.shape == self.q.shape and bool(np.isfinite(rates).all())
            good = good and np.linalg.norm((self.arm.jacobian(self.q) @ rates)[:3]) <= MAX_SPEED * 1.1
        else:
            aim = np.array(message.data if self.adapter == "joint_position" else message.points[0].positions)
            good = aim.shape == self.q.shape and bool(np.isfinite(aim).all())
            good = good and bool((aim >= self.arm.lower).all() and (aim <= self.arm.upper).all())
            if good:
                low, high = np.array(self.task.workspace_min) - 0.02, np.array(self.task.workspace_max) + 0.02
                at = self.arm.forward(aim)[0]
                good = bool((at >= low).all() and (at <= high).all())
        if not good:
            self.wrong.append(str(message)[:200])

    # -- what a person does

    def recover(self) -> None:
        """Back at the start, cleared, armed and moving."""
        self.q = self.home.copy()
        self.clock.s += 2.0  # all that was said is too old
        core = self.node.core
        core.watchdog.clear_estop()
        core.arm(False, self.clock.s)
        self.node.adapter._follower.stop() if hasattr(self.node.adapter, "_follower") else None
        core.linear.reset()
        if core.angular is not None:
            core.angular.reset()
        self.node._periods = type(self.node._periods)(PERIOD)
        for _ in range(3):
            self.period()
        response = self.node._on_arm(SetBool.Request(data=True), SetBool.Response())
        if not response.success:
            raise SystemExit(f"{self.adapter}: cannot arm: {response.message}")
        for _ in range(4):
            self.period()

    def close(self) -> None:
        try:
            self.node.destroy_node()
        finally:
            rclpy.shutdown()
        for module in TIMED:
            module.time = time


# -- injected errors


def calls_of(action: Callable[[], None]) -> int:
    """How many calls our package makes while ``action`` runs."""
    count = 0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += _ours(frame, event)

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def _ours(frame: Any, event: str) -> bool:
    """A call made by the package's own code, inside the guard's handling of errors excepted."""
    caller = frame if event == "c_call" else frame.f_back if event == "call" else None
    if caller is None or not caller.f_code.co_filename.startswith(PACKAGE):
        return False
    return caller.f_code.co_name != "guarded"  # what it calls is our code, and is counted


def inject(action: Callable[[], None], which: int) -> float:
    """Run ``action`` and raise at call number ``which``; returns perf_counter of the raise, 0 when it did not come."""
    count, at = -1, 0.0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal count, at
        count += _ours(frame, event)
        if count == which and not at:
            at = time.perf_counter()
            raise Injected(f"call {which}")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return at


def injected_errors(cell: Cell, every: int) -> dict[str, Any]:
    """An exception at every call of a tick, and of each callback, while the arm moves."""
    topics = [*cell.messages(), names.POLICY_HOME]
    cases, unstopped, delays, missed = 0, 0, [], []
    for name in ("tick", *topics):
        total = calls_of(action_of(cell, name))
        for which in range(0, total, every):
            action = action_of(cell, name)
            before = len(cell.sent)
            at = inject(action, which)
            if not at:
                continue
            cases += 1
            for message in cell.sent[before:]:
                cell._judge(message)
            faulted = cell.node.core.watchdog.fault is Fault.INTERNAL and cell.node.core.watchdog.state == ESTOPPED
            stopped = len(cell.sent) > before and cell.sent_at >= at
            if stopped:
                delays.append(1e3 * (cell.sent_at - at))
            if not (faulted and stopped):
                unstopped += 1
                missed.append(f"{name} call {which}")
            for _ in range(12):
                cell.period()
            if not standing(cell):
                unstopped += 1
                missed.append(f"{name} call {which}: it goes on")
    return {"cases": cases, "not_stopped": unstopped, "missed": missed[:5], "delays_ms": delays}


def action_of(cell: Cell, name: str) -> Callable[[], None]:
    """A tick, or the callback of a topic with a good message, made ready while the arm moves."""
    cell.recover()
    if name == "tick":
        cell.clock.s += PERIOD
        return cell.node._tick_callback
    message = (cell.messages() | {names.POLICY_HOME: cell.home_request()})[name]
    return lambda: cell.callbacks[name](message)


def standing(cell: Cell) -> bool:
    """Whether the last commands ask for no motion."""
    if cell.adapter in ("servo_twist", "joint_velocity"):
        last = cell.sent[-1]
        values = convert.linear_of(last) if cell.adapter == "servo_twist" else last.data
        return not any(values)
    before = cell.q.copy()
    cell.period()
    return bool(np.abs(cell.q - before).max() < 2e-3)


# -- fuzzed messages


def variants(message: Any) -> Iterator[tuple[str, Any]]:
    """The message with one field replaced, for every field and every value that it may be given."""
    for path, kind, value in leaves(message):
        for name, other in others(kind, value):
            changed = copy.deepcopy(message)
            if put(changed, path, other):
                yield f"{'.'.join(map(str, path))}={name}", changed


def leaves(message: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str, Any]]:
    for field, kind in message.get_fields_and_field_types().items():
        value = getattr(message, field)
        if hasattr(value, "get_fields_and_field_types"):
            yield from leaves(value, (*path, field))
            continue
        yield (*path, field), kind, value
        if isinstance(value, (list, tuple)) and value and hasattr(value[0], "get_fields_and_field_types"):
            for i, entry in enumerate(value):
                yield from leaves(entry, (*path, field, i))


def others(kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    base_kind = kind.partition("[")[0].removeprefix("sequence<").rstrip(">")
    if isinstance(value, (list, tuple, array.array, np.ndarray)):
        items = list(value)
        yield "empty", []
        yield "twice", items + items
        yield "short", items[:-1]
        if items and isinstance(items[0], float):
            for number in NUMBERS:
                yield f"all {number}", [number] * len(items)
                yield f"last {number}", [*items[:-1], number]
        if items and isinstance(items[0], str):
            yield "unknown", ["nobody"] * len(items)
            yield "same", [items[0]] * len(items)
            yield "blank", [""] * len(items)
            yield "reversed", items[::-1]
        if base_kind in ("double", "float64") and not items:
            yield "long", [math.nan] * 1000
    elif isinstance(value, bool):
        yield "not", not value
    elif isinstance(value, float):
        yield from ((str(number), number) for number in NUMBERS)
    elif isinstance(value, int) and base_kind in INTEGERS:
        bits = INTEGERS[base_kind]
        signed = not base_kind.startswith("u")
        for number in (-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1, 0):
            yield str(number), number
    elif isinstance(value, str):
        yield from (("empty", ""), ("long", "x" * 10_000), ("other", "elsewhere"))


def put(message: Any, path: tuple[Any, ...], value: Any) -> bool:
    """Set a field; False when the message type itself refuses the value."""
    *way, last = path
    for step in way:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    try:
        setattr(message, last, value)
    except (AssertionError, TypeError, ValueError, OverflowError):
        return False
    return True


def fuzzed_messages(cell: Cell, every: int) -> dict[str, Any]:
    """Every field of every message, with the arm in motion; the guard must live, and the arm must stay inside."""
    cases, ended = 0, []
    cell.recover()
    good = cell.messages() | {names.POLICY_HOME: cell.home_request()}
    for topic, message in good.items():
        for index, (what, _) in enumerate(variants(message)):
            if index % every:
                continue
            cell.recover()
            fresh = (cell.messages() | {names.POLICY_HOME: cell.home_request()})[topic]
            changed = next((m for name, m in variants(fresh) if name == what), None)
            if changed is None:
                continue
            cases += 1
            try:
                for _ in range(3):
                    cell.instead[topic] = changed
                    cell.period()
                for _ in range(3):
                    cell.period()
            except Exception as error:
                ended.append(f"{topic} {what}: {type(error).__name__}: {error}")
    return {"cases": cases, "ended": len(ended), "examples": ended[:5]}


def run(adapter: str, every: int = 1) -> dict[str, Any]:
    """All cases for one kind of driver. ``every``: only each so-manieth case."""
    with tempfile.TemporaryDirectory() as folder:
        cell = Cell(adapter, Path(folder))
        try:
            errors = injected_errors(cell, every)
            after_errors = len(cell.wrong)
            fuzz = fuzzed_messages(cell, every)
        finally:
            cell.close()
    delays = errors.pop("delays_ms")
    return {
        "adapter": adapter,
        "injected": errors | {"wrong_commands": after_errors},
        "fuzzed": fuzz | {"wrong_commands": len(cell.wrong) - after_errors},
        "to_stop_ms": {"p50": round(float(np.median(delays)), 2), "max": round(max(delays), 2)},
        "wrong": cell.wrong[:5],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", nargs="+", default=list(ADAPTERS), choices=list(ADAPTERS))
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth case")
    args = parser.parse_args(argv)
    rows = []
    for adapter in args.adapters:
        rows.append(run(adapter, args.every))
        print(json.dumps(rows[-1]), flush=True)
    wrong = sum(row["injected"]["wrong_commands"] + row["fuzzed"]["wrong_commands"] for row in rows)
    bad = sum(row["injected"]["not_stopped"] + row["fuzzed"]["ended"] for row in rows)
    cases = sum(row["injected"]["cases"] + row["fuzzed"]["cases"] for row in rows)
    print(json.dumps({"benchmark": "guard_faults", "cases": cases, "wrong_commands": wrong, "not_stopped": bad}))
    return int(bool(wrong or bad))


if __name__ == "__main__":
    sys.exit(main())
