# SPDX-License-Identifier: Apache-2.0
"""Kill -9 of nodes at random moments: does the arm stand still in time, and does training go on?

    python benchmarks/kill_nodes.py --kills 100

Starts `erl-vlm run train_real --use-sim-arm` (real time, the simulated arm in its driver's place) and kills one node
after the other, each time another one of a random order, while the arm moves. The arm's driver itself is not killed.
Where the commands cease (policy_controller, safety_guard, guard_watchdog), `still_ms` is the time from the kill until
the tool stays within 3 mm of where it is half a second later; `slow_ms` is the time until it is slower than 1 cm/s for
good, which a gripper that creeps along the drawer it presses on reaches later. Every command that reaches the arm is
held against the envelope, every pose against the box; when the tool leaves it, the poses and commands around that
moment go to OUT/excursion_N.csv. With --adapter joint_velocity the driver obeys its last command for ever, and
guard_watchdog is among the victims (the guard then disarms). A kill is over when training has gone on by an episode.
Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from erl_vlm_ros.robot.drivers import ADAPTERS, OBEY_FOREVER

QUICK = {"warmup_steps": 300, "max_warmup_steps": 400, "first_ratings": 60, "checkpoint_every": 250}
VICTIMS = ("policy_controller", "safety_guard", "learner", "reward_trainer", "vlm_rater", "monitor")
SILENCING = ("policy_controller", "safety_guard", "guard_watchdog")  # without them no command reaches the arm
WATCHDOG = "guard_watchdog"
SLOW, TELEPORT = 0.01, 3.0  # m/s
STILL_M = 0.003
SPEED_LIMIT, OUTSIDE_M = 0.9, 0.005  # the guard's default; what the arm may overshoot the box by
STILL_TARGET_MS = 150.0


def main() -> int:
    """Kill, measure, print; exit status 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--adapter", default="servo_twist", choices=sorted(ADAPTERS))
    parser.add_argument("--victims", nargs="+", choices=(*VICTIMS, WATCHDOG), help="default: all that there are")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="NODE.PARAMETER=VALUE")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds until training must have gone on")
    parser.add_argument("--out", type=Path, help="keep the run's folder, its log, excursions and late stops here")
    args = parser.parse_args()
    args.victims = args.victims or [*VICTIMS, *([WATCHDOG] if args.adapter in OBEY_FOREVER else [])]
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if args.out:
        args.out.mkdir(parents=True)
        result = measure(args, args.out)
    else:
        with tempfile.TemporaryDirectory(prefix="kill_nodes_") as folder:
            result = measure(args, Path(folder))
    print(json.dumps({"benchmark": "kill_nodes"} | result))
    return 0 if result["ok"] else 1


def measure(args: argparse.Namespace, folder: Path) -> dict:
    """The whole series of kills."""
    command = [
        sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_real", "--use-sim-arm", "--auto-arm", "--standin-vlm",
        "--headless", "--adapter", args.adapter, "--task", args.task, "--out", str(folder / "run"),
        "--max-steps", "1000000",
        "--set", "policy_controller.eval_every=0", "--set", "learner.max_ratings=100000",
    ]  # fmt: skip
    for key, value in QUICK.items():
        command += ["--set", f"learner.{key}={value}"]
    for pair in args.overrides:
        command += ["--set", pair]
    with (folder / "log").open("wb") as log:
        graph = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    rng, rows = random.Random(args.seed), []
    order = [args.victims[i % len(args.victims)] for i in range(args.kills)]
    rng.shuffle(order)
    try:
        watch = Watch(args.task, graph, folder)
        watch.until(lambda: watch.episodes >= 1, 240.0)
        for i, victim in enumerate(order):
            rows.append(kill(victim, watch, graph.pid, rng, args.patience, f"late_stop_{i + 1}"))
            print(f"{i + 1}/{len(order)} {rows[-1]}", file=sys.stderr, flush=True)
    finally:
        graph.send_signal(signal.SIGINT)
        try:
            graph.wait(90)
        except subprocess.TimeoutExpired:
            graph.kill()
    return verdict(rows, watch)


def kill(victim: str, watch: Watch, supervisor: int, rng: random.Random, patience: float, name: str) -> dict:
    """One kill while the arm moves; waits until training has gone on. ``name``: of the record of a stop too late."""
    watch.until(lambda: watch.speed > 0.05, 60.0)
    pause = time.monotonic() + rng.uniform(0.0, 1.0)
    watch.until(lambda: time.monotonic() >= pause, 5.0)
    before, pid = watch.episodes, process_of(victim, supervisor)
    watch.moved_at = killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    watch.last_kill = (victim, time.time())
    row = {"victim": victim}
    if victim in SILENCING:
        # the time in which the dead node is not replaced yet
        watch.until(lambda: time.monotonic() - killed_at > 0.5, 2.0)
        row["slow_ms"] = round(1e3 * (watch.moved_at - killed_at), 1)
        end = watch.way[-1][1]
        moving = [at for at, place in watch.way if at > killed_at and math.dist(place, end) > STILL_M]
        row["still_ms"] = round(1e3 * (max(moving, default=killed_at) - killed_at), 1)
        if row["still_ms"] > STILL_TARGET_MS:
            watch.keep(name)
    began = watch.episodes
    watch.until(lambda: watch.episodes >= max(before, began) + 2, patience)
    return row | {"went_on_after_s": round(time.monotonic() - killed_at, 1)}


def process_of(node: str, supervisor: int) -> int:
    """Process id of a node among the supervisor's children."""
    for children in Path(f"/proc/{supervisor}/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if f"__node:={node}".encode() in line:
                return pid
    raise SystemExit(f"no process of {node}")


class Watch:
    """Listens to the arm and to its commands."""

    def __init__(self, task: str, graph: subprocess.Popen, folder: Path) -> None:
        import rclpy
        from geometry_msgs.msg import PoseStamped, TwistStamped
        from std_msgs.msg import String

        from erl_vlm_ros.common import names
        from erl_vlm_ros.common.tasks import load_task
        from erl_vlm_ros.ros import convert, qos

        self.rclpy, self.task, self._graph, self._folder = rclpy, load_task(task), graph, folder
        self._time_of = lambda message: 1e-9 * convert.header_ns(message)  # s
        rclpy.init()
        self.node = rclpy.create_node("kill_nodes_watch")
        self.speed, self.moved_at, self.episodes = 0.0, 0.0, 0
        self.commands = self.outside = self.poses = self.out_of_box = 0
        self.worst_m = 0.0
        self.last_kill = ("", 0.0)
        self.excursions: list[dict] = []
        self._recent: deque[tuple] = deque(maxlen=1000)  # poses and commands
        self._began: float | None = None  # the excursion that goes on
        self.way: deque[tuple[float, tuple[float, float, float]]] = deque(maxlen=100)
        self._last: tuple[float, tuple[float, float, float]] | None = None
        self.node.create_subscription(PoseStamped, names.EE_POSE, self._on_pose, qos.sensor(False, 50))
        self.node.create_subscription(TwistStamped, names.EXECUTED, self._on_command, qos.metrics())
        self.node.create_subscription(String, names.RUN_STATE, self._on_state, qos.latched())

    def until(self, done, seconds: float) -> None:
        """Listen until ``done``; ends the benchmark when it takes too long or the graph is over."""
        end = time.monotonic() + seconds
        while not done():
            self.rclpy.spin_once(self.node, timeout_sec=0.01)
            if time.monotonic() > end or self._graph.poll() is not None:
                said = (self._folder / "log").read_text(errors="replace")
                raise SystemExit(said[-3000:] + "\ntraining did not go on")

    def _on_pose(self, message) -> None:
        now = self._time_of(message)
        p = message.pose.position
        here = (p.x, p.y, p.z)
        self.way.append((time.monotonic() - max(0.0, time.time() - now), here))  # when it was so, not when it was heard
        if self._last is not None and now > self._last[0]:
            self.speed = math.dist(here, self._last[1]) / (now - self._last[0])
            if SLOW < self.speed < TELEPORT:  # a reset puts the simulated arm elsewhere at once
                self.moved_at = self.way[-1][0]
        self._last = (now, here)
        box = zip(here, self.task.workspace_min, self.task.workspace_max, strict=True)
        beyond = max(max(low - x, x - high) for x, low, high in box)
        self.poses += 1
        self.worst_m = max(self.worst_m, beyond)
        self.out_of_box += beyond > OUTSIDE_M
        self._recent.append(("pose", now, *here))
        self._follow(now, beyond)

    def _follow(self, now: float, beyond: float) -> None:
        """Keep the record of the times that the tool was outside."""
        if beyond > OUTSIDE_M:
            if self._began is None:
                after, at = self.last_kill
                self._began = now
                self.excursions.append({"after": after, "since_kill_s": round(now - at, 3), "worst_mm": 0.0})
            last = self.excursions[-1]
            last["worst_mm"] = max(last["worst_mm"], round(1e3 * beyond, 2))
        elif self._began is not None:
            self.excursions[-1]["lasted_s"] = round(now - self._began, 3)
            self._began = None
            self.keep(f"excursion_{len(self.excursions)}")

    def keep(self, name: str) -> None:
        """Write down the last poses and commands."""
        with (self._folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("what", "time_s", "x", "y", "z"), *self._recent])

    def _on_command(self, message) -> None:
        v, w = message.twist.linear, message.twist.angular
        numbers = (v.x, v.y, v.z, w.x, w.y, w.z)
        self._recent.append(("command", self._time_of(message), v.x, v.y, v.z))
        self.commands += 1
        good = all(map(math.isfinite, numbers)) and math.hypot(v.x, v.y, v.z) <= SPEED_LIMIT + 1e-9
        self.outside += not (good and math.hypot(w.x, w.y, w.z) == 0.0)

    def _on_state(self, message) -> None:
        self.episodes = max(self.episodes, int(json.loads(message.data)["episodes"]))


def verdict(rows: list[dict], watch: Watch) -> dict:
    """All figures."""
    still, slow = (sorted(row[name] for row in rows if name in row) for name in ("still_ms", "slow_ms"))
    again = sorted(row["went_on_after_s"] for row in rows)
    late = sum(t > STILL_TARGET_MS for t in still)
    return {
        "kills": len(rows), "silencing_kills": len(still), "still_ms_max": still[-1] if still else None,
        "still_ms_median": still[len(still) // 2] if still else None, "later_than_150_ms": late,
        "slow_ms_max": slow[-1] if slow else None, "slow_later_than_150_ms": sum(t > STILL_TARGET_MS for t in slow),
        "commands": watch.commands, "commands_outside_envelope": watch.outside, "poses": watch.poses,
        "poses_out_of_box": watch.out_of_box, "farthest_out_mm": round(1e3 * watch.worst_m, 2),
        "excursions": watch.excursions,
        "went_on_after_s_median": again[len(again) // 2], "went_on_after_s_max": again[-1],
        "ok": late == 0 and watch.outside == 0 and watch.out_of_box == 0,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
