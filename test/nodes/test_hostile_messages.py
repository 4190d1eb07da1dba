# SPDX-License-Identifier: Apache-2.0
"""One bad message never ends a node: hostile and foreign bundles to every subscription that takes them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from factories import SIM_ARM_FACTS, make_episode, make_labels, make_queries, tagged_jpeg
from safetensors.numpy import save
from std_msgs.msg import Float32MultiArray, String, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import RUN, Bundle, encode
from erl_vlm_ros.data.images import pack_jpegs
from erl_vlm_ros.feedback.ledger.thread import LedgerError
from erl_vlm_ros.reward.trainer import RewardTrainer
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import bytes_message
from erl_vlm_ros.ros.refusals import InternalError, Refusals, own_work
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.learner import Learner

TASK = load_task("drawer_open")
QUICK = {"trunk.first_iterations": 2, "trunk.iterations": 2, "heads.iterations": 4}
RUN_ID = "ours"


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    """A good bundle of each kind."""
    learner = Learner(learner_config(node_values("learner", TASK), TASK), 0)
    trainer = RewardTrainer(reward_config(node_values("reward_trainer", TASK, QUICK), TASK), 0)
    trainer.add_episode(make_episode(0))
    trainer.add_labels(make_labels([0, 1, 2, 3, 4], 5, round_=0))
    return {
        "episode": make_episode(0).to_bundle(),
        "queries": make_queries(3).to_bundle(),
        "labels": make_labels([0, 2, -1], 5, round_=1).to_bundle(),
        "reward_model": trainer.train().to_bundle(),
        "actor": learner.actor_bundle(),
    }


def raw(kind: str, arrays: dict[str, np.ndarray], meta: Any, kind_text: str | None = None) -> bytes:
    """A bundle without the sender's checks. ``meta`` may be JSON text."""
    text = meta if isinstance(meta, str) else json.dumps(meta)
    return save(
        {k: np.ascontiguousarray(v) for k, v in arrays.items()},
        metadata={"kind": kind if kind_text is None else kind_text, "schema": "1", "meta": text},
    )


VALUES = [
    None, True, -1, 0, 7, 2**31, 2**62, -(2**62), 0.5, 1e300, "", "x", "\u0000", "ä" * 1000, [], [[]], [None] * 3,
    {}, {"a": 1}, {"round": "x"}, {"round": None, "requested": -5}, ["x"] * 3,
]  # fmt: skip
TEXTS = ["9" * 400, "1e999", "NaN", "Infinity", '"\\ud800"', "[" * 900 + "]" * 900, "-" + "9" * 400]


def hostile(bundle: Bundle, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Messages made from a good bundle, each wrong in another way (or only foreign)."""
    kind, arrays, meta = bundle.kind, bundle.arrays, bundle.meta
    good = raw(kind, arrays, meta)
    rng = random.Random(seed)
    yield "empty", b""
    yield "text", b"not a bundle"
    yield "another kind", raw(kind, arrays, meta, "poem")
    yield "another run", encode(Bundle(kind, arrays, meta | {RUN: "theirs"}))
    yield "run is a list", raw(kind, arrays, meta | {RUN: [1]})
    for end in (7, 8, 100, len(good) // 2, len(good) - 1):
        yield f"cut at {end}", good[:end]
    for i in range(40):
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield f"flipped {i}", bytes(data)
    keys = [(key,) for key in meta] + [
        (key, inner) for key in meta if isinstance(meta[key], dict) for inner in meta[key]
    ]
    for path in keys:
        for value in VALUES:
            yield f"meta {path} = {value!r:.40}", raw(kind, arrays, changed(meta, path, value))
        for text in TEXTS:
            marked = json.dumps(changed(meta, path, "@MARK@")).replace('"@MARK@"', text)
            yield f"meta {path} = {text:.40}", raw(kind, arrays, marked)
        yield f"meta without {path}", raw(kind, arrays, changed(meta, path, None, drop=True))
    for name, array in arrays.items():
        yield f"without {name}", raw(kind, {k: v for k, v in arrays.items() if k != name}, meta)
        others = [
            array[:-1],
            array[:0],
            np.concatenate([array, array]),
            array[..., None],
            array.ravel(),
            array.astype(np.float64),
            array.astype(np.int64),
            array.astype(np.float32),
            array.astype(np.uint8),
        ]
        if array.ndim > 1:
            others += [array[..., :-1], array[..., :0], np.concatenate([array, array], -1)]
        if array.dtype == np.float32:
            others += [np.full_like(array, v) for v in (np.nan, np.inf, -np.inf, 3e38, 1e7, 0.0)]
        if array.dtype == np.int64:
            others += [np.full_like(array, v) for v in (2**62, -(2**62), -1, 0, 99)]
        for other in others:
            yield f"{name} {other.dtype} {list(other.shape)}", raw(kind, arrays | {name: other}, meta)
    count = len(arrays["jpeg_offsets"]) - 1 if "jpeg_offsets" in arrays else 0
    for bad in (b"", b"no image", tagged_jpeg("x")[:-2], tagged_jpeg("x")[:200], huge_jpeg(), tagged_jpeg("x", 8)):
        if count:
            data, offsets = pack_jpegs([bad, *[tagged_jpeg("y")] * (count - 1)])
            yield f"a frame of {len(bad)} bytes", raw(kind, arrays | {"jpeg": data, "jpeg_offsets": offsets}, meta)


def changed(meta: dict, path: tuple[str, ...], value: Any, drop: bool = False) -> dict:
    out = copy.deepcopy(meta)
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner.pop(path[-1]) if drop else inner.update({path[-1]: value})
    return out


def huge_jpeg() -> bytes:
    data = bytearray(tagged_jpeg("x"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\x3e\x80\x3e\x80"
    return bytes(data)


def foreign() -> list[tuple[str, bytes]]:
    """Well-formed, but of a run with other sizes."""
    small = make_episode(0, observations=np.zeros((21, 12), np.float32), prop_dim=8)
    wide = make_episode(0, actions=np.zeros((20, 7), np.float32))
    long = make_labels([0, 1], 5, round_=3, length=4)
    narrow = make_labels([0, 1], 5, round_=3)
    for label in narrow.labels:
        label.segment.proprio = np.zeros((1, 3), np.float32)
    batches = [small, wide, long, narrow, make_labels([0, 1], 3, round_=3), make_labels([], 5, round_=3)]
    return [(f"of other sizes {i}", encode(batch.to_bundle())) for i, batch in enumerate(batches)]


KIND_OF = {
    names.TRANSITIONS: "episode", names.EVALUATION_EPISODES: "episode", names.LABELS: "labels",
    names.QUERIES: "queries", names.REWARD_MODEL: "reward_model", names.ACTOR: "actor",
}  # fmt: skip
NODES = {
    "reward_trainer": ("RewardTrainerNode", dict(QUICK)),
    "learner": ("LearnerNode", {"warmup_steps": 20, "first_ratings": 3, "sac.hidden": [16, 16]}),
    "vlm_rater": ("VlmRaterNode", {"teacher": "scripted", "scripted.timeout_s": 0.1}),
    "policy_controller": ("PolicyController", {}),
    "monitor": ("Monitor", {"lock_step": False}),
}


@pytest.fixture
def node(request, ros_domain, tmp_path, monkeypatch):
    """A node in this process; its callbacks are called directly."""
    import importlib

    import rclpy

    name = request.param
    monkeypatch.chdir(tmp_path)
    class_name, parameters = NODES[name]
    arguments = ["--ros-args"]
    for key, value in (SIM_ARM_FACTS.get(name, {}) | parameters | {"run_id": RUN_ID}).items():
        arguments += ["-p", f"{key}:={json.dumps(value)}"]
    rclpy.init(args=arguments)
    try:  # the default context is the whole process's
        made = getattr(importlib.import_module(f"erl_vlm_ros.nodes.{name}"), class_name)()
        yield made
        made.on_stop()
        made.destroy_node()
    finally:
        rclpy.shutdown()


def inputs(node) -> dict[str, tuple[str, Any]]:
    """Topic -> (kind of bundle, callback) of the subscriptions that take bundles."""
    found = {}
    for subscription in node.subscriptions:
        topic = subscription.topic_name.lstrip("/")
        if subscription.msg_type is UInt8MultiArray:
            found[topic] = (KIND_OF[topic], subscription.callback)
    return found


@pytest.mark.parametrize("node", NODES, indirect=True)
def test_no_message_ends_a_node_and_the_next_good_one_is_taken(node, bundles):
    taken = inputs(node)
    assert taken
    for topic, (kind, callback) in taken.items():
        before = node.refused.total
        for what, data in [*hostile(bundles[kind]), *foreign()]:
            try:
                callback(bytes_message(data))
            except Exception as error:
                pytest.fail(f"{node.get_name()}, {topic}, {what}: {type(error).__name__}: {error}")
        assert node.refused.total - before > 100
        foreseen = {"BundleError", "DataError", "ImageError", "ValueError"}
        others = {kind for (where, kind) in node.refused.counts if where == topic} - foreseen
        assert not others, others
    for topic, (kind, callback) in taken.items():
        refused = node.refused.total
        callback(bytes_message(encode(Bundle(kind, bundles[kind].arrays, bundles[kind].meta | {RUN: RUN_ID}))))
        assert node.refused.total == refused, topic


@pytest.mark.parametrize("node", ["monitor"], indirect=True)
def test_texts_and_figures_that_are_none_do_not_end_the_monitor(node):
    callbacks = {s.topic_name.lstrip("/"): s.callback for s in node.subscriptions}
    for text in (
        "",
        "{",
        "[]",
        "3",
        '{"state": 1}',
        '{"state": "x", "env_steps": "y"}',
        "[" * 5000,
        "null",
        '{"state": "x", "env_steps": ' + "9" * 400 + "}",
        '{"state": "x", "env_steps": 1e999}',
    ):
        callbacks[names.RUN_STATE](String(data=text))
    callbacks[names.EPISODE_REWARD](Float32MultiArray(data=[1.0]))
    assert node.refused.total > 5


# -- what is still loud


def test_faults_of_our_own_pass():
    said: list[str] = []
    refusals = Refusals(said.append)

    def raising(error: Exception):
        def callback(_: Any) -> None:
            raise error

        return refusals.forgiving("topic", callback)

    for error in (ValueError("a"), TypeError("b"), KeyError("c"), OverflowError("d"), IndexError("e")):
        raising(error)(None)
    assert refusals.total == 5 and len(said) == 5 and all(text.startswith("topic: ") for text in said)
    loud = (
        ConfigError("a"),
        LedgerError("b"),
        RuntimeError("c"),
        OSError(28, "full"),
        AttributeError("d"),
        AssertionError("e"),
        InternalError("f"),
        MemoryError(),
    )
    for error in loud:
        with pytest.raises(type(error)):
            raising(error)(None)
    for _ in range(95):
        raising(ValueError("a"))(None)
    assert refusals.counts["topic", "ValueError"] == 96 and len(said) == 6  # the first and the tenth

    def work(_: Any) -> None:
        with own_work():
            raise ValueError("not the message's fault")

    with pytest.raises(InternalError):
        refusals.forgiving("topic", work)(None)


def test_what_comes_again_after_a_restart_is_survived_again(ros):
    """Latched topics bring a bad message back to every process that takes the place of one that died."""
    episodes = ros.node.create_publisher(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
    labels = ros.node.create_publisher(UInt8MultiArray, names.LABELS, qos.bulk())
    damaged = make_labels([0, 1], 5)
    damaged.labels[0].query[0].jpegs[0] = b"damaged"
    episodes.publish(bytes_message(foreign()[0][1]))
    labels.publish(bytes_message(encode(damaged.to_bundle())))
    states = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    for _ in range(2):
        for name in ("reward_trainer", "learner"):
            ros.start(name)
        for name in ("reward_trainer", "learner"):
            ros.until(lambda name=name: ros.log(name).count("message refused") >= 2, f"{name} to refuse both")
            told = f"{name}: refused messages"
            ros.until(lambda told=told: any(s.name == told for m in states for s in m.status), told)
            states.clear()
            assert ros.stop(name) == 0
            (ros.folder / f"{name}.log").write_text("")
