# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm dataset``: make datasets from recordings, runs and the scripted expert, and show what one holds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erl_vlm_ros.data.dataset import write_dataset
from erl_vlm_ros.data.dataset_view import contact_sheet, show
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.notes import UNRATED, Notes
from erl_vlm_ros.graphs.robot import ROBOT_COPY, SIMULATED
from erl_vlm_ros.robot.spec import robot_path
from erl_vlm_ros.runs import dataset_build, dataset_formats

if TYPE_CHECKING:
    from erl_vlm_ros.data.sources.run import RunSource  # loads torch

SHEET = "contact_sheet.png"
LEDGER = "ledger.sqlite"  # in the run directory
_ELSEWHERE = {
    "build": dataset_build.build,
    "export": dataset_formats.export_dataset,
    "import": dataset_formats.import_dataset,
}


def add_commands(commands: Any) -> None:
    """Add ``dataset`` with its own commands to a parser's commands."""
    actions = commands.add_parser("dataset", help="make or show a dataset of episodes").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    dataset_build.add_command(actions)
    dataset_formats.add_commands(actions)
    made = actions.add_parser("from-run", help="the episodes in the buffer of a run")
    made.add_argument("run", metavar="RUN", help="run directory")
    made.add_argument("--out", required=True, metavar="DATASET", help="new or empty folder")
    shown = actions.add_parser("show", help="counts, rates, labels and a contact sheet")
    shown.add_argument("dataset", metavar="DATASET")
    collect = actions.add_parser("collect", help="episodes of the scripted expert, in simulation")
    collect.add_argument("--task", default="drawer_open")
    collect.add_argument("--episodes", type=int, default=50, metavar="N")
    collect.add_argument(
        "--noise", type=float, metavar="LEVEL",
        help="disturbance of every episode, 0 (the expert) to 1; not given: from none to 0.7, half succeed",
    )  # fmt: skip
    collect.add_argument("--seed", type=int, default=0)
    collect.add_argument("--out", required=True, metavar="DATASET")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one of them; exit status 0. ConfigError: what was named is of no use."""
    if arguments.action in _ELSEWHERE:
        return _ELSEWHERE[arguments.action](arguments)
    if arguments.action == "show":
        import cv2

        sheet = Path(arguments.dataset) / SHEET
        told = show(arguments.dataset)
        cv2.imwrite(str(sheet), contact_sheet(arguments.dataset))
        print(json.dumps({**told, "contact_sheet": str(sheet)}))
        return 0
    if arguments.action == "from-run":
        from erl_vlm_ros.common.rundir import load_run
        from erl_vlm_ros.data.sources.run import RunSource

        run = load_run(arguments.run)
        task, robot = str(run.get("task", "")), _robot_of_run(arguments.run, run)
        episodes, made_by = _of_run(RunSource(arguments.run, True), arguments.run), f"from-run {arguments.run}"
    else:
        task, robot = arguments.task, robot_path(SIMULATED)
        noise = "mixed" if arguments.noise is None else arguments.noise
        made_by = f"collect noise {noise} seed {arguments.seed}"
        episodes = iter(_collected(arguments))
    count = write_dataset(arguments.out, task, episodes, made_by, robot)
    print(f"{arguments.out}: {count} episodes")
    return 0


def _robot_of_run(path: str, run: dict[str, Any]) -> Path | None:
    """The file of a run's robot; None on a real arm without one."""
    kept = Path(path) / ROBOT_COPY
    simulated = run.get("graph") == "train_sim" or run.get("real", {}).get("use_sim_arm", False)
    return kept if kept.is_file() else robot_path(SIMULATED) if simulated else None


def _collected(arguments: argparse.Namespace) -> list[Episode]:
    from dataclasses import replace

    from erl_vlm_ros.common.tasks import load_task
    from erl_vlm_ros.graphs.collect import check_collect_options
    from erl_vlm_ros.graphs.spec import DataOptions
    from erl_vlm_ros.sim.demonstrations import demonstrations, mixed_demonstrations

    check_collect_options(DataOptions(episodes=arguments.episodes, noise=arguments.noise))
    task, count, seed = load_task(arguments.task), arguments.episodes, arguments.seed
    if arguments.noise is None:
        shown = mixed_demonstrations(task, count, seed)
    else:
        shown = demonstrations(task, [arguments.noise] * count, seed)
    return [replace(d.episode, success=d.succeeded) for d in shown]


def _of_run(source: RunSource, path: str) -> Iterator[tuple[Episode, Notes]]:
    """Episodes with the rewards that the run's learner had last, and its ratings."""
    from erl_vlm_ros.feedback.ledger.by_frame import FrameRatings, ratings_by_frame

    ledger = Path(path) / LEDGER
    found = ratings_by_frame(ledger) if ledger.is_file() else FrameRatings({}, 0, "")
    while (item := source.poll()) is not None:
        ratings = np.full(item.episode.steps + 1, UNRATED, np.int64)
        number = source.first_number + item.episode.index
        for frame in range(len(ratings)):
            ratings[frame] = found.by_frame.get((number, frame), UNRATED)
        rated = ratings if (ratings != UNRATED).any() else None
        yield item.episode, Notes(item.rewards, rated, found.n_classes, found.rater, f"run {Path(path).name}")
