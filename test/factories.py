# SPDX-License-Identifier: Apache-2.0
"""What many tests need: small valid frames, episodes, segments, queries and labels, each a little different."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.robot.spec import load_robot

OBS_DIM, PROP_DIM, ACT_DIM = 19, 10, 3

_ROBOT = load_robot("sim_arm")
_SEEN = {"joint_names": list(_ROBOT.joints), "gripper_joints": list(_ROBOT.gripper.joints)}
#: what the graphs tell the nodes of the simulated arm; the guard's are the tests' to choose
SIM_ARM_FACTS = {
    **dict.fromkeys(("policy_controller", "learner", "reward_trainer", "monitor"), _SEEN),
    "sim_bridge": {"controller_joints": list(_ROBOT.controller_joints)},
}


@functools.cache
def _grey(side: int) -> bytes:
    return encode_jpeg(np.full((side, side, 3), 128, np.uint8))


def tagged_jpeg(tag: str, side: int = 16) -> bytes:
    """A valid grey frame whose bytes hold ``tag``, as a comment: equal tags give equal frames."""
    comment = tag.encode()
    data = _grey(side)
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def make_episode(index: int = 0, steps: int = 20, *, noise: int = 0, side: int = 32, **changes: Any) -> Episode:
    """A training episode of noise, the same for the same arguments; ``changes`` are fields of Episode."""
    rng = np.random.default_rng([noise, index])
    images = rng.integers(0, 255, (steps + 1, side, side, 3), dtype=np.uint8)
    values = {
        "observations": rng.normal(size=(steps + 1, OBS_DIM)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (steps, ACT_DIM)).astype(np.float32),
        "jpegs": changes["jpegs"] if "jpegs" in changes else [encode_jpeg(image) for image in images],
        "stamps": np.arange(steps + 1) + 1000 * index,
        "terminated": False,
        "truncated": True,
        "evaluation": False,
        "index": index,
        "actor_version": 0,
        "seed": index,
        "prop_dim": PROP_DIM,
    }
    return Episode(**(values | changes))


def make_segment(name: str = "e12_t33_h2", length: int = 2, **changes: Any) -> Segment:
    """A segment whose frames hold its name; ``changes`` are fields of Segment."""
    values = {
        "jpegs": [tagged_jpeg(f"{name}{i}") for i in range(length)],
        "proprio": np.arange(length * PROP_DIM, dtype=np.float32).reshape(length, PROP_DIM),
        "actions": np.ones((length, ACT_DIM), np.float32),
        "stamps": np.arange(length) + 5,
    }
    return Segment(name, **(values | changes))


def make_queries(
    count: int = 3, round_: int = 0, length: int = 1, *, start: int = 0, episode: int = 0, **changes: Any
) -> QueryBatch:
    """A round of queries about one segment each, with the stamps ``start``, ``start`` + 1, ...: ``eN_tI_hH``."""
    segments = []
    for i in range(start, start + count):
        values = {"proprio": np.zeros((length, PROP_DIM)), "stamps": np.arange(i, i + length)} | changes
        segments.append(make_segment(f"e{episode}_t{i}_h{length}", length, **values))
    return QueryBatch.of(round_, segments)


def make_labels(
    values: list[int], n_classes: int = 3, round_: int = 0, length: int = 1, *, start: int = 0, **changes: Any
) -> LabelBatch:
    """What came of ``make_queries``: a label for each value."""
    queries = make_queries(len(values), round_, length, start=start).queries
    labels = [Label(query, value, "" if value >= 0 else "timeout") for query, value in zip(queries, values)]
    return LabelBatch(round_, n_classes, len(values), labels, **changes)
