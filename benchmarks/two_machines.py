# SPDX-License-Identifier: Apache-2.0
"""One run across two network namespaces: bytes on the link, what a cut, loss and delay cost, what the arm does.

    python benchmarks/two_machines.py --steps 600                          # a plain cable
    python benchmarks/two_machines.py --steps 600 --cut 10                 # pulled in the middle of an episode
    python benchmarks/two_machines.py --steps 600 --loss 5 --delay 50      # percent and ms, each way
    python benchmarks/two_machines.py --steps 300 --graph train_real --cut 10
    python benchmarks/two_machines.py --steps 600 --one                    # to compare: both sides on one machine
    python benchmarks/two_machines.py --steps 5000 --whole --demos scripted:10:0.25   # a training as it is shipped

Needs root. Prints one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from link import Link, refusal  # noqa: E402

DOMAIN = 83
SETTINGS = {
    "learner.warmup_steps": 150, "learner.max_warmup_steps": 150, "learner.first_ratings": 40,
    "learner.round_steps": 150, "learner.round_ratings": 15, "policy_controller.eval_every": 0,
    "policy_controller.final_eval_episodes": 2, "reward_trainer.trunk.first_iterations": 60,
    "reward_trainer.trunk.iterations": 20,
}  # fmt: skip


def main() -> None:
    """Run, watch, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", default="train_sim", choices=("train_sim", "train_real"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--cut", type=float, default=0.0, metavar="S", help="pull the plug for so long")
    parser.add_argument("--cut-at", type=int, default=250, metavar="STEPS")
    parser.add_argument("--loss", type=float, default=0.0, metavar="PERCENT", help="each way")
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="each way")
    parser.add_argument("--peer", action="store_true", help="no multicast on the cable: each side names the other")
    parser.add_argument("--one", action="store_true", help="one machine, no side")
    parser.add_argument("--whole", action="store_true", help="shipped settings, a policy from images, 20 episodes last")
    parser.add_argument("--demos", default="", help="of erl-vlm run")
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="NODE.PARAM=VALUE")
    parser.add_argument("--keep", type=Path, help="folder for the runs; by default they go")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        return watch(args.watch)
    problem = "" if args.one else refusal()
    if problem:
        sys.exit(f"two_machines: {problem}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # namespaces go, whoever ends it
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(alone(args, folder) if args.one else across(args, folder)))


def options(args: argparse.Namespace, out: Path) -> list[str]:
    """The command line of one side."""
    real = ("--use-sim-arm", "--auto-arm", "--standin-vlm") if args.graph == "train_real" else ()
    short = [] if args.whole else [f"--set={k}={v}" for k, v in SETTINGS.items()]
    settings = short + [f"--set={text}" for text in args.set] + (["--observe=images"] if args.whole else [])
    settings += [f"--demos={args.demos}"] if args.demos else []
    common = ("--seed", args.seed, "--out", out, "--max-steps", args.steps, "--headless", *real, *settings)
    return [sys.executable, "-m", "erl_vlm_ros.cli", "run", args.graph, *map(str, common)]


def environment() -> dict[str, str]:
    """This process's variables less what would lead nodes elsewhere."""
    away = ("ROS_DOMAIN_ID", "DISPLAY", "WAYLAND_DISPLAY", "ROS_AUTOMATIC_DISCOVERY_RANGE")
    found = {k: v for k, v in os.environ.items() if k not in away}
    return found | {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH", "")]))}


def alone(args: argparse.Namespace, folder: Path) -> dict:
    """The same run on one machine."""
    began = time.monotonic()
    with (folder / "one.out").open("w") as log:
        status = subprocess.run(options(args, folder / "one"), stdout=log, stderr=log, env=environment()).returncode
    return result(args, folder / "one", {"one": status}, time.monotonic() - began)


def across(args: argparse.Namespace, folder: Path) -> dict:
    """The run on two machines."""
    peers = {"robot": "10.77.0.2", "workstation": "10.77.0.1"}
    with Link(args.loss / 100, args.delay / 1e3, multicast=not args.peer) as link:
        processes, began = {}, time.monotonic()
        try:
            for side in ("robot", "workstation"):
                more = ["--side", side, "--domain", str(DOMAIN), *(["--peer", peers[side]] if args.peer else [])]
                command = link.command(side, *options(args, folder / side), *more)
                with (folder / f"{side}.out").open("w") as log:
                    processes[side] = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
            seen = folder / "seen.jsonl"
            watcher = link.command("robot", sys.executable, str(HERE / __file__), "--watch", str(seen))
            processes["watch"] = subprocess.Popen(
                watcher,
                env=environment() | {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            )
            flow = follow(args, link, folder, processes, seen)
        finally:
            status = {side: stop(process) for side, process in processes.items()}
    status.pop("watch")
    out = result(args, folder / "workstation", status, time.monotonic() - began)
    return out | {"link": link.how, **flow, **moved(seen, flow.get("cut_from"), flow.get("cut_to"))}


def follow(args: argparse.Namespace, link: Link, folder: Path, processes: dict, seen: Path) -> dict:
    """Bytes a second from the first step to the last one; the cut."""
    first = last = None
    most, out = 0.0, {}
    while processes["workstation"].poll() is None and processes["robot"].poll() in (None, 0):
        now, bytes_, steps = time.monotonic(), link.carried(), progress(folder / "workstation")
        if steps > 0:
            if last is not None and now > last[0]:
                most = max(most, (sum(bytes_) - sum(last[1])) / (now - last[0]))
            first, last = first or (now, bytes_, steps), (now, bytes_, steps)
        if args.cut and "cut_from" not in out and steps >= args.cut_at and in_episode(seen):
            out |= {"cut_from": time.time(), "steps_at_cut": steps}
            link.cut(True)
            time.sleep(args.cut)
            link.cut(False)
            out |= {"cut_to": time.time()}
            mended = time.monotonic()
        if "cut_to" in out and "steps_again_after_s" not in out and steps > out["steps_at_cut"] + 50:
            out["steps_again_after_s"] = round(time.monotonic() - mended, 1)
        time.sleep(0.25 if args.cut and "cut_from" not in out else 1.0)
    if processes["workstation"].poll() == 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes["robot"].wait(30)
    if first is not None and last[0] > first[0]:
        span, count = last[0] - first[0], max(last[2] - first[2], 1)
        up, down = (last[1][i] - first[1][i] for i in (0, 1))
        out |= {
            "to_workstation_kB_s": round(up / span / 1e3, 1), "to_robot_kB_s": round(down / span / 1e3, 1),
            "most_kB_s": round(most / 1e3, 1), "kB_a_step": round((up + down) / count / 1e3, 2),
            "steps_per_s": round(count / span, 2),
        }  # fmt: skip
    return out


def progress(run: Path) -> int:
    """Steps so far."""
    try:
        return json.loads((run / "progress.json").read_text())["env_steps"]
    except (OSError, ValueError):
        return 0


def in_episode(seen: Path) -> bool:
    """Whether a training episode runs just now."""
    states = [row["state"] for row in rows(seen) if "state" in row]
    return bool(states) and states[-1] == "running"


def rows(seen: Path) -> list[dict]:
    """What the watcher wrote."""
    if not seen.exists():
        return []
    return [json.loads(line) for line in seen.read_text().splitlines() if line.endswith("}")]


def moved(seen: Path, start: float | None, end: float | None) -> dict:
    """What the arm did, by the watcher on its machine: in the run, and while the link was cut."""
    found = [row for row in rows(seen) if "speed" in row]
    out = {"top_speed": round(max((row["speed"] for row in found), default=0.0), 3)}
    out["longest_gap_s"] = round(max((row["gap"] for row in found), default=0.0), 2)
    if start is not None:
        cut = [row for row in found if start <= row["at"] <= end]
        armed = [row["armed"] for row in rows(seen) if "armed" in row]
        out["cut"] = {
            "top_speed": round(max((row["speed"] for row in cut), default=0.0), 3),
            "speed_at_its_end": round(cut[-1]["speed"], 4) if cut else None,
            "longest_gap_s": round(max((row["gap"] for row in cut), default=0.0), 2),
            "armed_all_the_time": False not in armed[armed.index(True) : -1] if True in armed else False,
        }  # fmt: skip
    return out


def result(args: argparse.Namespace, run: Path, status: dict, wall: float) -> dict:
    """Figures of the run."""
    try:
        summary = json.loads((run / "summary.json").read_text())
    except OSError:
        summary = {}
    keys = ("state", "env_steps", "episodes", "ratings_valid", "success_rate", "wall_s")
    return {
        "benchmark": "two_machines", "graph": args.graph, "seed": args.seed, "whole": args.whole,
        "loss": args.loss, "delay_ms": args.delay,
        "cut_s": args.cut, "one": args.one, "status": status, "wall": round(wall, 1),
        "load": round(os.getloadavg()[0], 1), **{key: summary.get(key) for key in keys},
    }  # fmt: skip


def stop(process: subprocess.Popen) -> int:
    """End a process; returns its status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def watch(file: Path) -> None:
    """On the robot's machine: episode states, the guard, and the tool's speed in windows of half a second."""
    import rclpy
    from geometry_msgs.msg import PoseStamped
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.signals import SignalHandlerOptions
    from std_msgs.msg import Bool, String

    from erl_vlm_ros.common import names
    from erl_vlm_ros.common.dds import use_profile
    from erl_vlm_ros.ros import convert, qos

    over: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.append(1))
    use_profile()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node, out = rclpy.create_node("watch"), file.open("a", buffering=1)
    tell = lambda **row: out.write(json.dumps({"at": time.time(), **row}) + "\n")  # noqa: E731
    last: dict = {"speed": 0.0, "gap": 0.0, "told": time.monotonic(), "state": ""}

    def pose(message: PoseStamped) -> None:
        now, stamp, place = time.monotonic(), convert.header_ns(message) / 1e9, convert.position_of(message)
        moves = last["state"] in ("running", "evaluating")  # a simulated reset puts the tool elsewhere
        if moves and "stamp" in last and 0.0 < stamp - last["stamp"] < 0.5:
            way = sum((a - b) ** 2 for a, b in zip(place, last["place"])) ** 0.5
            last["speed"] = max(last["speed"], way / (stamp - last["stamp"]))
        last["gap"] = max(last["gap"], now - last.get("now", now))
        last.update(stamp=stamp, place=place, now=now)

    node.create_subscription(PoseStamped, names.EE_POSE, pose, qos_profile_sensor_data)

    def state(message: String) -> None:
        last["state"] = json.loads(message.data)["detail"]
        tell(state=last["state"])

    node.create_subscription(Bool, names.ARMED, lambda m: tell(armed=m.data), qos.latched())
    node.create_subscription(String, names.RUN_STATE, state, qos.latched())
    while not over:
        rclpy.spin_once(node, timeout_sec=0.1)
        if time.monotonic() - last["told"] > 0.5 and "now" in last:
            tell(speed=last["speed"], gap=max(last["gap"], time.monotonic() - last["now"]))
            last.update(speed=0.0, gap=0.0, told=time.monotonic())


if __name__ == "__main__":
    main()
