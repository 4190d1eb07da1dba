# SPDX-License-Identifier: Apache-2.0
"""What a fixed seed gives in lock-step through the real graph, as one readable JSON file of fingerprints.

    python benchmarks/lockstep_record.py --task drawer_open --seed 0 --steps 3000 --out A.json
    python benchmarks/lockstep_record.py --compare A.json B.json [--common]

For showing that a restructuring changes nothing: record before and after on ONE machine (floating-point sums and
rendered images differ between machines), then compare; the first difference is named by episode and array, and the
exit status is 1. Which ``erl_vlm_ros`` is recorded, PYTHONPATH says. Topics, nodes and modules that were renamed
stand in small tables in ``lockstep/graph.py`` and ``lockstep/local.py``.

Part ``graph`` runs `erl-vlm run train_sim` and listens: every array of every episode (training and evaluation), query,
label batch, reward model and policy; the figures of the buffer after each reward model; both checkpoints, replay
buffer, optimisers and random state included; the summary. By default a run depends on timing in two ways, which its
settings (in the record) set aside: the controller waits for each episode's updates (max_lag_episodes: 0), and all
three rounds lie in the exploration, where it holds still until the answers are back. What still depends on timing is
kept under ``not_compared``. Part ``local`` has the one-process loop do rounds during learning as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lockstep import graph, local
from lockstep.compare import ABOUT, compare

PARTS = {"graph": graph.record, "local": local.record}


def main() -> int:
    """Record, or compare two records. Exit status 1: they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer_open")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("lockstep_record.json"))
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NODE.NAME=VALUE", help="other settings, as JSON"
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two records")
    parser.add_argument("--common", action="store_true", help="what stands in one record only is no difference")
    args = parser.parse_args()
    if args.compare:
        equal, lines = compare(*(json.loads(path.read_text()) for path in args.compare), args.common)
        print("\n".join([*lines, "equal" if equal else "DIFFERENT"]))
        return 0 if equal else 1
    task = str(Path(args.task).resolve()) if Path(args.task).is_file() else args.task
    given = {name: json.loads(value) for name, _, value in (one.partition("=") for one in args.set)}
    found: dict[str, Any] = {
        "benchmark": "lockstep_record",
        "run": {"task": args.task, "seed": args.seed, "steps": args.steps, "set": given},
    }
    for part in args.parts:
        sections = PARTS[part](task, args.seed, args.steps, given)
        found["run"] |= sections.pop("run", {})
        found |= sections
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    counts = {name: len(section) for name, section in found.items() if name not in ABOUT}
    print(json.dumps({"benchmark": "lockstep_record", "out": str(args.out), **counts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
