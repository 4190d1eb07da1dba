# SPDX-License-Identifier: Apache-2.0
"""How long `erl-vlm dataset build` takes for a long bag, and how much memory.

    python benchmarks/dataset_build.py --minutes 60

Writes a synthetic bag (compressed images, joint states, tool and object pose, commands; kept with --bag), builds it by
pauses into episodes in a process of its own, and prints one JSON line: seconds, seconds of CPU, the process's largest
resident memory in MB, episodes, steps, and the alignment as the command tells it. The goal: an hour at 640x480 in under
5 minutes and under 2 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from synthetic_bag import Session, write_bag

EPISODE_S, PAUSE_S = 27.0, 3.0


def main() -> int:
    """Write, build, print; exit status 1 when the build failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--camera-hz", type=float, default=30.0)
    parser.add_argument("--sqlite", action="store_true", help="a .db3 in place of MCAP")
    parser.add_argument("--bag", type=Path, help="keep the bag here, and use it if it is there")
    parser.add_argument("--as", dest="given", nargs="*", default=[], metavar="OPTION", help="further options of build")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dataset_build_") as folder:
        bag = args.bag or Path(folder) / "bag"
        if not bag.exists():
            session = Session(
                seconds=60.0 * args.minutes, camera_hz=args.camera_hz, size=tuple(args.size), quality=80, images=64,
                velocity=drive, jitter_s=0.004,
            )  # fmt: skip
            write_bag(bag, session.messages(), args.sqlite)
        result = measure(bag, Path(folder) / "out", args.given)
    size = sum(file.stat().st_size for file in bag.iterdir()) if args.bag else None
    print(json.dumps({"benchmark": "dataset_build", "minutes": args.minutes, "bag_bytes": size} | result))
    return int(result["status"] != 0)


def drive(t: float) -> tuple[float, float, float]:
    """m/s: circles, and a pause after each episode."""
    if t % (EPISODE_S + PAUSE_S) > EPISODE_S:
        return (0.0, 0.0, 0.0)
    return (0.1 * np.sin(t), 0.1 * np.cos(t), 0.0)


def measure(bag: Path, out: Path, given: list[str]) -> dict:
    """One build."""
    command = [
        sys.executable, "-m", "erl_vlm_ros.cli", "dataset", "build", str(bag), "--robot", "sim_arm", "--task",
        "drawer_open", "--episodes", "idle", "--out", str(out), *given,
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # this was the only child
    peak, cpu = used.ru_maxrss / 1024.0, used.ru_utime + used.ru_stime
    told = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": done.stderr[-1000:]}
    return {
        "status": done.returncode,
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu, 1),
        "peak_mb": round(peak),
        **told,
    }


if __name__ == "__main__":
    sys.exit(main())
