# SPDX-License-Identifier: Apache-2.0
"""What benchmarks of many runs share: each run in a process of its own, its result a line of a file, none run twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = dict[str, Any]  # holds its ``key``


def gather(
    wanted: Mapping[str, Job],
    out: Path | None,
    run: Callable[[Job], Result],
    say: Callable[[Result], str],
    jobs: int = 1,
    report: bool = False,
) -> dict[str, Result | None]:
    """The results of the jobs by key, in their order: those in ``out`` from there, the others run and added to it.

    Args:
        say: a line about a run that has ended. report: run nothing; what is missing is None.
    """
    results: dict[str, Result | None] = dict.fromkeys(wanted)
    for line in out.read_text().splitlines() if out and out.exists() else ():
        found = json.loads(line)
        if found["key"] in results:
            results[found["key"]] = found
    missing = [] if report else [job for key, job in wanted.items() if results[key] is None]
    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(run, job) for job in missing]):
            result = future.result()
            results[result["key"]] = result
            print(f"  {say(result)}", file=sys.stderr, flush=True)
            if out:
                with out.open("a") as file:
                    file.write(json.dumps(result) + "\n")
    return results


def in_process(what: str, command: list[str], loud: bool) -> Result:
    """The JSON line that a command ends with; SystemExit with its error text. ``loud``: let its errors through."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=None if loud else subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{(done.stderr or '')[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
