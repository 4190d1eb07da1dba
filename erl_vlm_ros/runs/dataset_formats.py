# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm dataset export`` and ``import``: datasets in other formats."""

from __future__ import annotations

import argparse
import json
from typing import Any

from erl_vlm_ros.recordings.lerobot.video import CODECS
from erl_vlm_ros.runs.dataset_build import add_shared, by_hand, keep, read_options

LEROBOT = "lerobot"
FORMATS = (LEROBOT,)
VIDEO_CODECS = tuple(CODECS)


def add_commands(actions: Any) -> None:
    """Add both to the actions of ``dataset``."""
    out = actions.add_parser("export", help="a dataset as a LeRobot dataset (v3.0)")
    out.add_argument("--format", choices=FORMATS, default=LEROBOT)
    out.add_argument("dataset", metavar="DATASET")
    out.add_argument("out", metavar="OUT", help="new or empty folder")
    out.add_argument("--video", action="store_true", help="images as MP4 files, with loss, not as the JPEGs they are")
    out.add_argument("--video-codec", choices=VIDEO_CODECS, default=VIDEO_CODECS[0], help="of --video (default h264)")
    inn = actions.add_parser("import", help="a dataset out of a LeRobot dataset (v3.0)")
    inn.add_argument("--format", choices=FORMATS, default=LEROBOT)
    inn.add_argument("folder", metavar="DIR", help="with meta/info.json")
    add_shared(inn)
    inn.add_argument("--degrees", action="store_true", help="joints are in degrees")
    inn.add_argument(
        "--state-names", default="", metavar="A,B,...",
        help="of the numbers in observation.state, as the robot file calls its joints",
    )  # fmt: skip


def export_dataset(arguments: argparse.Namespace) -> int:
    """Write it, and print one JSON line; exit status 0. ConfigError: what was named is of no use."""
    from erl_vlm_ros.recordings.lerobot.write import export

    codec = arguments.video_codec if arguments.video else ""
    print(json.dumps({"out": arguments.out, **export(arguments.dataset, arguments.out, codec)}))
    return 0


def import_dataset(arguments: argparse.Namespace) -> int:
    """Read it, tell what was skipped, and print one JSON line; exit status 0. ConfigError: nothing could be read."""
    from erl_vlm_ros.recordings.lerobot.read import Importer

    options = read_options(arguments)
    names = tuple(name.strip() for name in arguments.state_names.split(",")) if arguments.state_names else ()
    importer = Importer(
        arguments.folder, options, by_hand(arguments.success), degrees=arguments.degrees, state_names=names
    )
    return keep(arguments, options, importer.episodes(), importer.report, f"import {arguments.folder}")
