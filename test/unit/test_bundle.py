# SPDX-License-Identifier: Apache-2.0
"""The tensor bundle codec: what it carries, and everything it must refuse."""

import contextlib
import json

import numpy as np
import pytest
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
    "change, message",
    [
        ({"actions": np.zeros((4, 3))}, "float64"),
        ({"actions": np.zeros((5, 3), np.float32)}, "should be"),
        ({"stamps": np.zeros((5, 1), np.int64)}, "expected I64"),
        ({"jpeg": np.zeros(3, np.float32)}, "expected U8"),
        ({"jpeg_offsets": np.zeros(5, np.int64)}, "T\\+2"),
        ({"extra": np.zeros(3, np.float32)}, "unknown arrays \\['extra'\\]"),
    ],
)
def test_sender_side_checks(change, message):
    with pytest.raises(BundleError, match=message):
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
    with pytest.raises(BundleError, match="N\\*H\\+1"):
        encode(Bundle("queries", {**arrays, "jpeg_offsets": np.zeros(6, np.int64)}))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "too short"),
        (b"\x00" * 7, "too short"),
        (raw({}, length=10**12), "header length"),
        (raw(b"[" * 100_000), "unreadable header"),
        (raw(b"\xff\xfe"), "unreadable header"),
        (raw([1, 2]), "unreadable header"),
        (raw({}), "unreadable header"),
        (raw(metadata(meta="{")), "unreadable header"),
        (raw(metadata(meta="[]")), "not a mapping"),
        (raw(metadata(kind="episode")), "got 'episode'"),
        (raw(metadata(schema="2")), "schema 2"),
        (raw({**metadata(), "a": 3}), "malformed"),
        (raw({**metadata(), "a": entry("F64")}), "dtype F64"),
        (raw({**metadata(), "a": entry("U8", (8,))}, b"x" * 8), "float32 or int64"),
        (raw({**metadata(), "a": entry(shape=(-2,))}, b"x" * 8), "whole numbers"),
        (raw({**metadata(), "a": entry(shape=(2.0,))}, b"x" * 8), "whole numbers"),
        (raw({**metadata(), "a": entry(shape=(10**18, 0), offsets=(0, 0))}), "whole numbers"),
        (raw({**metadata(), "a": entry(shape=(3,))}, b"x" * 8), "does not fill"),
        (raw({**metadata(), "a": entry(offsets=(8, 0))}, b"x" * 8), "does not fill"),
        (raw({**metadata(), "a": entry(offsets=(4, 12))}, b"x" * 12), "gap"),
        (raw({**metadata(), "a": entry(), "b": entry()}, b"x" * 8), "overlap"),
        (raw({**metadata(), "a": entry()}, b"x" * 4), "cover 8 of 4"),
        (raw({**metadata(), "a": entry()}, b"x" * 12), "cover 8 of 12"),
        (raw({**metadata(), "n" * 65: entry()}, b"x" * 8), "1-64 letters"),
        (
            raw({**metadata(), **{f"a{i}": entry(shape=(0,), offsets=(0, 0)) for i in range(300)}}),
            "300 arrays",
        ),
    ],
)
def test_hostile_bytes_are_refused(data, message):
    with pytest.raises(BundleError, match=message):
        decode(data, "actor")


def test_total_size_is_bounded_on_both_sides(monkeypatch):
    data = encode(WEIGHTS)
    monkeypatch.setattr(codec, "MAX_TOTAL", 16)
    monkeypatch.setattr(codec, "MAX_HEADER", 64)
    with pytest.raises(BundleError, match="above the limit"):
        decode(data, "actor")
    with pytest.raises(BundleError, match="above the limit"):
        encode(WEIGHTS)


def test_unknown_kind():
    with pytest.raises(BundleError, match="unknown bundle kind"):
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
