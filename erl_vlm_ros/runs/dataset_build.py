# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm dataset build``: recordings of a robot become a dataset."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.cameras import NAME as CAMERA_NAME
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.new_folder import require_new
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.common.yaml_file import dump_yaml
from erl_vlm_ros.data.dataset import ROBOT, write_dataset
from erl_vlm_ros.recordings import options as o
from erl_vlm_ros.recordings.bag import find_bags
from erl_vlm_ros.recordings.build import Builder, Report
from erl_vlm_ros.recordings.problems import Reason, RecordingError, Skipped
from erl_vlm_ros.robot.spec import load_robot

REPORT = "build.json"  # in the dataset: what became of each episode
_DEST = {"action": "action_from", "command": "command_topic"}  # these words are the command line's own


def add_command(actions: Any) -> None:
    """Add ``build`` to the actions of ``dataset``."""
    build = actions.add_parser("build", help="episodes out of rosbag2 recordings (MCAP, SQLite)")
    build.add_argument("bags", nargs="+", metavar="BAG_OR_DIR", help="a bag, or a folder of bags at any depth")
    add_shared(build)
    default = o.BuildOptions.__dataclass_fields__
    for flag, allowed, text in (
        ("episodes", o.EPISODES,
         "where they begin and end: our controller's own episodes (recorded), run/state, a topic, pauses (idle), one a "
         "bag; auto: the first of recorded, state, bag that is there"),
        ("action", o.ACTIONS, "what was commanded, or the motion to the next pose"),
        ("clock", o.CLOCKS, "the messages' stamps, or when the recorder received them"),
        ("observe", o.OBSERVED, "with the task's tracked object (state), or without; auto: where object_pose is there"),
        ("driven-by", o.DRIVERS, "who drove; auto: by run/state, without it a person"),
    ):  # fmt: skip
        value = default[flag.replace("-", "_")].default
        dest = _DEST.get(flag)
        build.add_argument(f"--{flag}", dest=dest, choices=allowed, default=value, help=f"{text} ({value})")
    for flag, text in (
        ("command", "TwistStamped, Twist, or Float64MultiArray of joint velocities"),
        ("gripper-command", "Float64MultiArray"),
        ("episode-topic", "Bool (true within an episode), Int (another number, another episode), Empty (between two)"),
        ("success-topic", "Bool; without it task/success where that is there"),
    ):
        build.add_argument(f"--{flag}", dest=_DEST.get(flag), default="", metavar="TOPIC", help=text)
    _add_numbers(
        build,
        ("idle", "idle_s", float, "s of a pause that ends an episode, with --episodes idle"),
        ("late", "late_s", float, "s by which a topic may begin later or end earlier than its episode"),
        ("command-hold", "command_hold_s", float, "s for which a command counts without a next one"),
    )
    build.add_argument(
        "--command-scale", nargs=2, type=float, default=[1.0, 1.0], metavar=("M_S", "RAD_S"),
        help="what a 1 in the command stands for, where it is without unit",
    )  # fmt: skip


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Options of everything that makes episodes out of others' recordings."""
    parser.add_argument("--robot", required=True, metavar="NAME|FILE", help="robot file, as of a run")
    parser.add_argument("--task", required=True, metavar="NAME|FILE", help="task file, as of a run")
    parser.add_argument("--out", required=True, metavar="DATASET", help="new or empty folder")
    parser.add_argument(
        "--success", default="", metavar="yes|no|NUMBERS",
        help="by hand: of all episodes, or the numbers of those that succeeded, such as 0,2,5-9; no other did",
    )  # fmt: skip
    parser.add_argument(
        "--camera", action="append", default=[], metavar="[NAME=]TOPIC",
        help="where a camera's images are; once for each camera that has a name",
    )  # fmt: skip
    parser.add_argument("--urdf", default="", metavar="FILE", help="to compute the tool's pose from the joints")
    _add_numbers(
        parser,
        ("image-size", "image_size", int, "side of the squares that are kept, px"),
        ("min-steps", "min_steps", int, "shorter episodes are left out"),
        ("tolerance", "tolerance_s", float, "s between a frame and its state, or a step and the control period"),
    )


def _add_numbers(parser: argparse.ArgumentParser, *rows: tuple[str, str, type, str]) -> None:
    for flag, name, kind, text in rows:
        value = o.BuildOptions.__dataclass_fields__[name].default
        said = "half a control period" if value is None else f"{value:g}"
        unit = "N" if kind is int else "S"
        parser.add_argument(f"--{flag}", dest=name, type=kind, default=value, metavar=unit, help=f"{text} ({said})")


def read_options(arguments: argparse.Namespace, **more: Any) -> o.BuildOptions:
    """The options that were given, ``more`` beside. ConfigError says what is wrong."""
    given = {name: getattr(arguments, name) for name in o.BuildOptions.__dataclass_fields__ if name in arguments}
    if not 16 <= arguments.image_size <= 1024:
        raise ConfigError(f"--image-size must be from 16 to 1024, got {arguments.image_size}", parameter="image_size")
    if arguments.urdf and not Path(arguments.urdf).is_file():
        text = f"--urdf {arguments.urdf}: no such file"
        raise ConfigError(text, code=Code.MISSING_FILE, parameter="urdf", file=arguments.urdf)
    given = {name: value for name, value in given.items() if name not in _DEST}  # the command line's own
    given["cameras"] = tuple(_camera(text) for text in arguments.camera)
    robot, task = load_robot(arguments.robot), load_task(arguments.task)
    return o.BuildOptions(**(given | {"robot": robot, "task": task} | more))


def _camera(text: str) -> tuple[str, str]:
    name, equals, topic = text.rpartition("=")
    if not topic or (equals and not re.fullmatch(CAMERA_NAME, name)):
        raise ConfigError(f"--camera {text}: expected TOPIC or NAME=TOPIC", parameter="camera")
    return name, topic


def build(arguments: argparse.Namespace) -> int:
    """Build, tell what was skipped, and print one JSON line. ConfigError: nothing could be built."""
    options = read_options(
        arguments, command=arguments.command_topic, action=arguments.action_from,
        command_scale=tuple(arguments.command_scale),
    )  # fmt: skip
    builder = Builder(options, by_hand(arguments.success))
    made_by = f"build {' '.join(arguments.bags)}"
    return keep(arguments, options, builder.episodes(find_bags(arguments.bags)), builder.report, made_by)


def keep(
    arguments: argparse.Namespace, options: o.BuildOptions, episodes: Iterator[Any], report: Report, made_by: str
) -> int:
    """Write the dataset and the report, tell what was skipped, and print one JSON line; exit status 0.

    Raises:
        ConfigError: the folder holds something, or there is no episode; the first reason is the error's.
    """
    out = require_new(arguments.out, "out")
    first = next(episodes, None)
    for line in report.skipped if first is None else ():
        print(line, file=sys.stderr)
    if first is None:
        worst = report.skipped[0] if report.skipped else Skipped(made_by, None, Reason.NO_EPISODE, "it is empty")
        raise RecordingError(worst.reason, f"nothing was built: {worst}", topic=worst.topic, file=worst.recording)
    task = options.task
    name = task.name if arguments.task == task.name else str(Path(arguments.task).resolve())
    write_dataset(out, name, itertools.chain([first], episodes), made_by)
    atomic_write(out / ROBOT, dump_yaml(options.robot.model_dump(mode="json"), sort_keys=False))
    atomic_write(out / REPORT, json.dumps(report.to_json(), indent=1))
    for line in report.skipped:
        print(line, file=sys.stderr)
    print(json.dumps(_summary(report, out)))
    return 0


def _summary(report: Report, out: Path) -> dict[str, Any]:
    steps = sum(one["steps"] for one in report.episodes)
    fast = sum(one.get("faster_than_task", 0.0) * one["steps"] for one in report.episodes)
    lost = {topic: n for told in report.recordings for topic, n in told.get("left_out_messages", {}).items()}
    return {
        "dataset": str(out), "episodes": len(report.episodes), "steps": steps, "skipped": len(report.skipped),
        "reasons": sorted({one.reason.name for one in report.skipped}), "alignment_ms": report.alignment_ms(),
        "faster_than_task": round(fast / steps, 4), "left_out_messages": lost, "report": str(out / REPORT),
    }  # fmt: skip


def by_hand(text: str) -> dict[int, bool] | bool | None:
    """``--success``: of all, by number, or (empty) not by hand. ConfigError: not of that form."""
    if text in ("", o.YES, o.NO):
        return None if not text else text == o.YES
    found: dict[int, bool] = {}
    for piece in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", piece.strip(), re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ConfigError(f"--success {text}: expected yes, no, or numbers such as 0,2,5-9", parameter="success")
        found |= dict.fromkeys(range(first, last + 1), True)
    return found
