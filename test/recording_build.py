# SPDX-License-Identifier: Apache-2.0
"""Bags in which a scripted arm is driven, and what `erl-vlm dataset build` makes of them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="needs the extra bag")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import synthetic_bag as sb  # noqa: E402
from synthetic_bag import write_bag  # noqa: E402

from erl_vlm_ros.common.tasks import load_task  # noqa: E402
from erl_vlm_ros.recordings.bag import find_bags  # noqa: E402
from erl_vlm_ros.recordings.build import Builder  # noqa: E402
from erl_vlm_ros.recordings.options import BuildOptions  # noqa: E402
from erl_vlm_ros.robot.spec import load_robot  # noqa: E402

Session = partial(sb.Session, joint_hz=50.0)  # half as many messages to write and read again
ROBOT, TASK = load_robot("sim_arm"), load_task("drawer_open")  # 10 Hz, 0.5 m/s
OTHER_FINGERS = ROBOT.model_copy(update={"joint_states": ("joint_states", "gripper/joint_states")})


def build(path, hand=None, **changes):
    """(episodes, report) of a bag, or of several."""
    options = BuildOptions(**({"robot": ROBOT, "task": TASK, "image_size": 48} | changes))
    builder = Builder(options, hand)
    return list(builder.episodes(find_bags(path if isinstance(path, list) else [path]))), builder.report


def why(path, **changes):
    """The reasons for which all of it was left out, without repetition."""
    episodes, report = build(path, **changes)
    assert not episodes
    return {(one.reason, one.topic) for one in report.skipped}


def bag(tmp_path, session, *more, name="bag", drop=lambda m: False, **kind):
    messages = [m for m in session.messages() if not drop(m)]
    return write_bag(tmp_path / name, sorted([*messages, *more], key=lambda m: m.at_s), **kind)
