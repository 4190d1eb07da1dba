# SPDX-License-Identifier: Apache-2.0
"""Is control on time while the learner is at full load? Real time, the simulated arm behind its driver's topics.

    python benchmarks/control_timing.py --minutes 10 --hz 10 20                     # from images: with its encoder
    python benchmarks/control_timing.py --minutes 10 --hz 10 --observe state        # one that sees a tracked object
    python benchmarks/control_timing.py --minutes 10 --hz 10 --cameras scene wrist  # an encoder for each camera

Starts `erl-vlm run train_real --use-sim-arm` for each rate, waits until the learner updates (a policy
from images has its encoder by then), then takes the stamps of policy/twist (made at the control tick) and of the
guard's output (made when it is sent) for so many minutes; the camera sends at 30 Hz.

Lateness of a tick: its distance from the rate's grid through the earliest tick of its episode. A missed tick: a gap
of more than one and a half periods within an episode. Jitter: how far the guard's intervals are from its period.
Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

QUICK = {"warmup_steps": 300, "max_warmup_steps": 400, "first_ratings": 60}  # the learner works after half a minute
GUARD_HZ = 50.0
TARGETS = {"missed": 0, "p99_lateness_ms": 10.0, "p99_jitter_ms": 5.0}


def main() -> int:
    """Measure each rate; exit status 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to measure at each rate")
    parser.add_argument("--hz", nargs="+", type=float, default=[10.0], help="control rates")
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--observe", default="images", choices=("images", "state"), help="what the policy sees")
    parser.add_argument("--cameras", nargs="+", default=[], help="simulated cameras by name; none: the scene's alone")
    parser.add_argument("--wait", type=float, default=240.0, help="seconds until the learner must be at work")
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rows = [measure(args, hz) for hz in args.hz]
    for row in rows:
        print(f"{row['hz']:g} Hz: {row}", file=sys.stderr)
    good = all(row[key] <= most for row in rows for key, most in TARGETS.items())
    told = {"minutes": args.minutes, "observe": args.observe, "cameras": args.cameras, "ok": good, "rates": rows}
    print(json.dumps({"benchmark": "control_timing", **told}))
    return 0 if good else 1


def measure(args: argparse.Namespace, hz: float) -> dict:
    """One run of the graph at one control rate."""
    from erl_vlm_ros.common.tasks import load_task

    with tempfile.TemporaryDirectory(prefix="control_timing_") as folder:
        raw = yaml.safe_load(Path(load_task(args.task).path).read_text())
        # the same time for an episode at each rate
        raw["episode_steps"] = round(raw.get("episode_steps", 50) * hz / raw.get("control_hz", 10.0))
        raw["control_hz"] = hz
        task = Path(folder) / f"{args.task}.yaml"
        task.write_text(yaml.safe_dump(raw))
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_real", "--use-sim-arm", "--auto-arm",
            "--standin-vlm", "--headless", "--task", str(task), "--out", str(out), "--max-steps", "1000000",
            "--set", "policy_controller.eval_every=0", "--set", "learner.max_ratings=100000", "--observe", args.observe,
            *(("--set", f"learner.cameras=[{','.join(args.cameras)}]") if args.cameras else ()),
        ]  # fmt: skip
        for key, value in QUICK.items():
            command += ["--set", f"learner.{key}={value}"]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            probe = Probe(args.cameras)
            if not probe.wait_for_updates(args.wait, process):
                raise SystemExit((Path(folder) / "log").read_text()[-2000:] + "\nthe learner did not begin")
            probe.record(args.minutes * 60.0, process)
            row = {"hz": hz, "load": round(os.getloadavg()[0], 1)} | probe.figures(hz)
            held = (out / "logs" / "policy_controller.log").read_text(errors="replace").count("holding still")
            return row | {"warnings_holding_still": held}
        finally:
            process.send_signal(2)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


class Probe:
    """Listens to the graph, in this process."""

    def __init__(self, cameras: list[str]) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import TwistStamped
        from sensor_msgs.msg import CameraInfo
        from std_msgs.msg import String

        from erl_vlm_ros.common import names
        from erl_vlm_ros.ros import qos

        self.rclpy = rclpy
        if not rclpy.ok():
            rclpy.init()
        self.node = rclpy.create_node("control_timing_probe")
        self.policy: list[int] = []
        self.guard: list[int] = []
        self.images: list[int] = []
        self.ends: set[int] = set()  # stamps of commands after which no episode was running
        self.episode: int | None = None
        self.updates = 0.0
        self.node.create_subscription(
            TwistStamped, names.POLICY_TWIST, lambda m: self._note(self.policy, m), qos.metrics()
        )
        self.node.create_subscription(TwistStamped, names.ARM_TWIST, lambda m: self._note(self.guard, m), qos.metrics())
        # what comes with each image, for images themselves would be one reader's load more
        info = names.NAMED_CAMERA_INFO.format(cameras[0]) if cameras else names.CAMERA_INFO
        self.node.create_subscription(CameraInfo, info, lambda m: self._note(self.images, m), qos.sensor())
        self.node.create_subscription(String, names.RUN_STATE, self._on_state, qos.latched())
        self.node.create_subscription(DiagnosticArray, names.METRICS, self._on_metrics, qos.metrics())

    @staticmethod
    def _note(stamps: list[int], message) -> None:
        stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)

    def _on_state(self, message) -> None:
        state = json.loads(message.data)
        over = state.get("detail") != "running" or state.get("episodes") != self.episode  # a reset may be over at once
        self.episode = state.get("episodes")
        if self.policy and over:
            self.ends.add(self.policy[-1])

    def _on_metrics(self, message) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if status.name == "learner" and "updates" in values:
                self.updates = float(values["updates"])

    def wait_for_updates(self, seconds: float, process: subprocess.Popen) -> bool:
        """Whether the learner updates within so many seconds."""
        end = time.monotonic() + seconds
        while self.updates == 0 and time.monotonic() < end and process.poll() is None:
            self.rclpy.spin_once(self.node, timeout_sec=0.1)
        return self.updates > 0

    def record(self, seconds: float, process: subprocess.Popen) -> None:
        """Listen for so long."""
        self.policy.clear()
        self.guard.clear()
        self.images.clear()
        self.began, before = time.monotonic(), self.updates
        end = self.began + seconds
        while time.monotonic() < end:
            self.rclpy.spin_once(self.node, timeout_sec=0.1)
            if process.poll() is not None:
                raise SystemExit("the graph ended while it was measured")
        self.updates_per_s = (self.updates - before) / seconds
        self.node.destroy_node()

    def figures(self, hz: float) -> dict:
        """Lateness and missed ticks of the controller, jitter of the guard, in ms."""
        late, missed, ticks = lateness(np.unique(np.array(self.policy)), hz, self.ends)  # commands are repeated
        intervals = np.diff(np.array(self.guard)) / 1e6
        jitter = np.abs(intervals - 1000.0 / GUARD_HZ)
        return {
            "ticks": ticks, "missed": missed, "p50_lateness_ms": percentile(late, 50),
            "p99_lateness_ms": percentile(late, 99), "max_lateness_ms": percentile(late, 100),
            "guard_messages": len(self.guard), "p50_jitter_ms": percentile(jitter, 50),
            "p99_jitter_ms": percentile(jitter, 99), "max_jitter_ms": percentile(jitter, 100),
            "learner_updates_per_s": round(self.updates_per_s, 1), "camera_hz": rate(self.images),
        }  # fmt: skip


def lateness(stamps: np.ndarray, hz: float, ends: set[int]) -> tuple[np.ndarray, int, int]:
    """Lateness [ms] of each tick against its episode's grid, missed ticks, and the number of ticks.

    ``stamps``: int64 ns, each once; ``ends``: those after which an episode was over (as run/state says).
    """
    period = 1e9 / hz
    if len(stamps) < 2:
        return np.zeros(0), 0, len(stamps)
    cuts = np.flatnonzero(np.isin(stamps, list(ends))) + 1
    late, missed = [], 0
    for episode in np.split(stamps, cuts):
        if len(episode) < 3:
            continue
        steps = np.rint((episode - episode[0]) / period)
        offset = episode - episode[0] - steps * period
        late.append((offset - offset.min()) / 1e6)
        missed += int((np.diff(episode) > 1.5 * period).sum())
    return np.concatenate(late) if late else np.zeros(0), missed, sum(map(len, late))


def rate(stamps: list[int]) -> float:
    """Messages a second by their stamps, ns."""
    return round(1e9 * (len(stamps) - 1) / (stamps[-1] - stamps[0]), 2) if len(stamps) > 1 else 0.0


def percentile(values: np.ndarray, q: float) -> float:
    """A percentile, or inf when nothing was measured."""
    return round(float(np.percentile(values, q)), 3) if len(values) else float("inf")


if __name__ == "__main__":
    sys.exit(main())
