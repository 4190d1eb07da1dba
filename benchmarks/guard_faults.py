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
from guard_cell import PACKAGE, PERIOD, Cell

from erl_vlm_ros.common import names
from erl_vlm_ros.robot.drivers import ADAPTERS
from erl_vlm_ros.ros import convert
from erl_vlm_ros.safety.faults import Fault
from erl_vlm_ros.safety.watchdog import ESTOPPED

NUMBERS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, -1.0, 1e6)
INTEGERS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


class Injected(Exception):
    """Raised by the benchmark in the middle of the guard."""


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
