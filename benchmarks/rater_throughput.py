# SPDX-License-Identifier: Apache-2.0
"""How many two-stage ratings a second, what a rating costs us in CPU time, and whether memory grows.

The endpoint is a process of its own on this machine (rater_endpoint.py). Speed and CPU time are measured with the
latency of a real endpoint; memory is measured over many ratings with a short latency, because only their number
matters there. CPU time is that of the rater's process alone: HTTP, JSON, base64 and the ledger with its syncs.

    python benchmarks/rater_throughput.py --ratings 10000

Prints a table and one JSON line last.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rater_bench import EndpointProcess, batch, right

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater

_ROUND = 100  # ratings asked for together


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=1.0, help="of the endpoint, s (default 1)")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--speed-ratings", type=int, default=320, help="ratings to measure speed with")
    parser.add_argument("--ratings", type=int, default=10_000, help="ratings to measure memory with; 0: not at all")
    parser.add_argument("--memory-latency", type=float, default=0.02, help="of the endpoint meanwhile, s")
    args = parser.parse_args()
    result = {"benchmark": "rater_throughput", "latency_s": args.latency, "concurrency": args.concurrency}
    result |= speed(args)
    if args.ratings:
        result |= memory(args)
    print("| | |\n|---|---|")
    for name, value in result.items():
        print(f"| {name} | {value} |")
    print(json.dumps(result))


def speed(args: argparse.Namespace) -> dict[str, float]:
    """Ratings/s and CPU time a rating, all of them asked for at once."""
    with running(args, args.latency) as (rater, _):
        rater.label_batch(batch(0, args.concurrency))  # connections and imports
        work = batch(1000, args.speed_ratings)
        cpu, wall = time.process_time(), time.monotonic()
        rated = rater.label_batch(work).labels
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    assert all(r.value == right(r.segment) for r in rated)
    return {
        "ratings_per_s": round(len(rated) / wall, 2),
        "ratings_per_s_possible": round(args.concurrency / (2 * args.latency), 2) if args.latency else 0.0,
        "cpu_ms_per_rating": round(1e3 * cpu / len(rated), 2),
        "speed_ratings": len(rated),
    }


def memory(args: argparse.Namespace) -> dict[str, float]:
    """Resident memory after each round of ratings."""
    counts, sizes = [], []
    with running(args, args.memory_latency) as (rater, path):
        for start in range(0, args.ratings, _ROUND):
            count = min(_ROUND, args.ratings - start)
            assert len(rater.label_batch(batch(start, count, start // _ROUND)).valid) == count
            gc.collect()
            counts.append(start + count)
            sizes.append(resident_mb())
        ledger_mb = path.stat().st_size / 2**20
    warm = len(sizes) // 5  # caches fill in the first fifth
    slope = np.polyfit(counts[warm:], sizes[warm:], 1)[0] if len(sizes) > warm + 1 else 0.0
    return {
        "memory_ratings": counts[-1],
        "memory_latency_s": args.memory_latency,
        "rss_mb_after_warm_up": round(sizes[warm], 1),
        "rss_mb_at_end": round(sizes[-1], 1),
        "rss_growth_kb_per_1000_ratings": round(1e3 * 1024 * slope, 1),
        "ledger_mb": round(ledger_mb, 1),
    }


@contextlib.contextmanager
def running(args: argparse.Namespace, latency_s: float) -> Iterator[tuple[VlmRater, Path]]:
    """A two-stage rater with an endpoint of such latency, and its ledger's path."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        endpoint = stack.enter_context(EndpointProcess("--latency", str(latency_s)))
        ledger = stack.enter_context(Ledger(Path(folder) / "ledger.sqlite"))
        config = RaterConfig(
            base_url=endpoint.url, model="bench", n_classes=3, concurrency=args.concurrency, max_queries=10**9
        )
        yield stack.enter_context(VlmRater(config, load_task("drawer_open"), ledger)), ledger.path


def resident_mb() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
