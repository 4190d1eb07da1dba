# SPDX-License-Identifier: Apache-2.0
"""The tensor bundle codec: what it carries, and everything it must refuse."""

import contextlib
import json

import numpy as np
import pytest
from refusals import refused
from safetensors.numpy import load, save

from erl_vlm_ros.data import bundle as codec
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode, encode

WEIGHTS = Bundle(
    "actor",
    {"w0": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([7])},
    {"version": 3, "a": [1, None]},
)


def episode_arrays(steps=4):
    return {
        "observations": np.zeros((steps + 1, 19), np.float32),
        "actions": np.zeros((steps, 3), np.float32),
        "stamps": np.arange(steps + 1),
        "jpeg": np.arange(10, dtype=np.uint8),
        "jpeg_offsets": np.linspace(0, 10, steps + 2).astype(np.int64),
        "intervention": np.zeros(steps, np.uint8),
        "extras": np.zeros((steps + 1, 0), np.float32),
    }


def raw(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def metadata(**changes):
    return {"__metadata__": {"kind": "actor", "schema": "1", "meta": "{}", **changes}}


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_round_trip_of_arrays_and_meta():
    out = decode(encode(WEIGHTS), "actor")
    assert out.kind == "actor" and out.meta == WEIGHTS.meta and set(out.arrays) == {"w0", "n"}
    np.testing.assert_array_equal(out.arrays["w0"], WEIGHTS.arrays["w0"])
    assert out.arrays["n"].dtype == np.int64
    out.arrays["w0"][0, 0] = 9  # a copy that may be written to
    assert decode(encode(Bundle("actor", {}, {"phase": "explore"})), "actor").arrays == {}


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda d: __import__("array").array("B", d)])
def test_any_buffer_is_accepted(wrap):
    assert decode(wrap(encode(WEIGHTS)), "actor").meta["version"] == 3


def test_the_bytes_are_plain_safetensors_and_non_contiguous_input_is_fine():
    data = encode(Bundle("actor", {"w0": WEIGHTS.arrays["w0"].T}, {}))
    np.testing.assert_array_equal(load(data)["w0"], WEIGHTS.arrays["w0"].T)
    assert decode(save({"w": np.ones(2, np.float32)}, metadata()["__metadata__"]), "actor").arrays["w"].sum() == 2


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"actions": np.zeros((4, 3))}, {"field": "episode.actions.dtype", "shows": "float64"}),
        ({"actions": np.zeros((5, 3), np.float32)}, {"field": "episode.observations.shape"}),
        ({"stamps": np.zeros((5, 1), np.int64)}, {"field": "episode.stamps", "shows": "I64"}),
        ({"jpeg": np.zeros(3, np.float32)}, {"field": "episode.jpeg", "shows": "U8"}),
        ({"jpeg_offsets": np.zeros(5, np.int64)}, {"field": "episode.jpeg_offsets.shape"}),
        ({"extra": np.zeros(3, np.float32)}, {"field": "episode.extra"}),
    ],
)
def test_sender_side_checks(change, fields):
    with refused(BundleError, **fields):
        encode(Bundle("episode", {**episode_arrays(), **change}))


def test_dimensions_of_products_are_checked():
    arrays = {
        "jpeg": np.zeros(0, np.uint8),
        "jpeg_offsets": np.zeros(2 * 3 + 1, np.int64),
        "proprio": np.zeros((2, 3, 10), np.float32),
        "actions": np.zeros((2, 3, 4), np.float32),
        "stamps": np.zeros((2, 3), np.int64),
    }
    decode(encode(Bundle("queries", arrays)), "queries")
    with refused(BundleError, field="queries.jpeg_offsets.shape"):
        encode(Bundle("queries", {**arrays, "jpeg_offsets": np.zeros(6, np.int64)}))


@pytest.mark.parametrize(
    "data, fields",
    [
        (b"", {"field": "actor.size"}),
        (b"\x00" * 7, {"field": "actor.size"}),
        (raw({}, length=10**12), {"field": "actor.header.length"}),
        (raw(b"[" * 100_000), {"field": "actor.header"}),
        (raw(b"\xff\xfe"), {"field": "actor.header"}),
        (raw([1, 2]), {"field": "actor.header"}),
        (raw({}), {"field": "actor.header"}),
        (raw(metadata(meta="{")), {"field": "actor.header"}),
        (raw(metadata(meta="[]")), {"field": "actor.meta"}),
        (raw(metadata(kind="episode")), {"field": "kind"}),
        (raw(metadata(schema="2")), {"field": "actor.schema"}),
        (raw({**metadata(), "a": 3}), {"field": "actor.a"}),
        (raw({**metadata(), "a": entry("F64")}), {"field": "actor.a.dtype", "shows": "F64"}),
        (raw({**metadata(), "a": entry("U8", (8,))}, b"x" * 8), {"field": "actor.a", "shows": ("float32", "int64")}),
        (raw({**metadata(), "a": entry(shape=(-2,))}, b"x" * 8), {"field": "actor.a.shape"}),
        (raw({**metadata(), "a": entry(shape=(2.0,))}, b"x" * 8), {"field": "actor.a.shape"}),
        (raw({**metadata(), "a": entry(shape=(10**18, 0), offsets=(0, 0))}), {"field": "actor.a.shape"}),
        (raw({**metadata(), "a": entry(shape=(3,))}, b"x" * 8), {"field": "actor.a.data_offsets"}),
        (raw({**metadata(), "a": entry(offsets=(8, 0))}, b"x" * 8), {"field": "actor.a.data_offsets"}),
        (raw({**metadata(), "a": entry(offsets=(4, 12))}, b"x" * 12), {"field": "actor.offsets"}),
        (raw({**metadata(), "a": entry(), "b": entry()}, b"x" * 8), {"field": "actor.offsets"}),
        (raw({**metadata(), "a": entry()}, b"x" * 4), {"field": "actor.body"}),
        (raw({**metadata(), "a": entry()}, b"x" * 12), {"field": "actor.body"}),
        (
            raw({**metadata(), "n" * 65: entry()}, b"x" * 8),
            {"field": "actor." + "n" * 64},
        ),
        (
            raw({**metadata(), **{f"a{i}": entry(shape=(0,), offsets=(0, 0)) for i in range(300)}}),
            {"field": "actor.arrays", "shows": "300"},
        ),
    ],
)
def test_hostile_bytes_are_refused(data, fields):
    with refused(BundleError, **fields):
        decode(data, "actor")


def test_total_size_is_bounded_on_both_sides(monkeypatch):
    data = encode(WEIGHTS)
    monkeypatch.setattr(codec, "MAX_TOTAL", 16)
    monkeypatch.setattr(codec, "MAX_HEADER", 64)
    with refused(BundleError, field="actor.size"):
        decode(data, "actor")
    with refused(BundleError, field="actor.size"):
        encode(WEIGHTS)


def test_unknown_kind():
    with refused(BundleError, field="kind"):
        encode(Bundle("pickle", {}))


def test_random_damage_gives_a_bundle_error_or_a_bundle_never_another_error():
    data = bytearray(encode(Bundle("episode", episode_arrays(), {"seed": 1})))
    rng = np.random.default_rng(0)
    for _ in range(400):
        copy = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            copy[rng.integers(len(copy) if rng.random() < 0.3 else 400)] = rng.integers(256)
        if rng.random() < 0.2:
            copy = copy[: rng.integers(len(copy))]
        with contextlib.suppress(BundleError):
            decode(bytes(copy), "episode")
