# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras: kept, packed, sent and stored together; of one camera nothing changes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from factories import make_episode, make_segment, tagged_jpeg

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import Bundle, BundleError, decode, encode
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.dataset import DatasetSource, survey, write_dataset
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_many, encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.sources import unseen
from erl_vlm_ros.data.spaces import spaces_of, with_cameras
from erl_vlm_ros.data.views import (
    Frame,
    all_jpegs,
    cameras_of,
    changed,
    decode_views,
    grouped,
    pack_views,
    split_views,
    view,
    views,
    with_views,
)
from erl_vlm_ros.feedback.kinds import RATING
from erl_vlm_ros.feedback.ledger.ledger import Ledger

CAMERAS = ("scene", "wrist")
PLAIN = spaces_of(load_task("drawer_open"), 6)
TWO = with_cameras(PLAIN, CAMERAS, 32)


def frame(tag: str, cameras=CAMERAS) -> Frame:
    return Frame.of({name: tagged_jpeg(f"{name} {tag}") for name in cameras})


def frames(count: int, tag: str = "", cameras=CAMERAS) -> list[bytes]:
    return [frame(f"{tag}{i}", cameras) for i in range(count)]


def episode(index: int = 0, steps: int = 5, **changes) -> Episode:
    return make_episode(index, steps, jpegs=frames(steps + 1, f"e{index} "), spaces=TWO, **changes)


def same(some, others) -> bool:
    return all_jpegs(some) == all_jpegs(others) and cameras_of(some) == cameras_of(others)


class TestFrame:
    def test_it_is_its_first_cameras_jpeg(self):
        one = frame("x")
        assert one == tagged_jpeg("scene x") and view(one, "") is one
        assert view(one, "wrist") == tagged_jpeg("wrist x")
        assert cameras_of([one]) == CAMERAS and cameras_of([b"x"]) == ()

    def test_views_in_another_order(self):
        one = views(frame("x"), ("wrist",))
        assert one == tagged_jpeg("wrist x") and cameras_of([one]) == ("wrist",)
        assert views(b"x", ()) == b"x"

    def test_a_camera_that_is_not_there(self):
        for one in (frame("x"), b"plain"):
            with pytest.raises(ValueError):
                view(one, "top")
        with pytest.raises(ValueError):
            cameras_of([frame("x"), b"plain"])
        with pytest.raises(ValueError):
            Frame.of({})

    def test_it_survives_copies(self):
        one = frame("x")
        for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), copy.copy(one)):
            assert same([other], [one])

    def test_every_image_is_changed(self):
        assert all_jpegs([changed(frame("x"), lambda jpeg: jpeg[:3])]) == [tagged_jpeg("")[:3]] * 2
        assert changed(b"ab", lambda jpeg: jpeg[:1]) == b"a"

    def test_groups(self):
        some = frames(3)
        assert same(grouped(all_jpegs(some), CAMERAS), some) and grouped([b"a"], ()) == [b"a"]
        with pytest.raises(ValueError):
            grouped([b"a"] * 3, CAMERAS)


def test_decoded_below_each_other():
    images = np.random.default_rng(0).integers(0, 255, (2, 2, 32, 32, 3), np.uint8)
    some = [Frame.of({name: encode_jpeg(images[i, c]) for c, name in enumerate(CAMERAS)}) for i in range(2)]
    found = decode_views(some, 16, CAMERAS)
    assert found.shape == (2, 32, 16, 3)
    for name, part in zip(CAMERAS, split_views(found, 2)):
        assert (part == decode_many([view(one, name) for one in some], 16)).all()
    assert (decode_views(some, 16) == decode_many(some, 16)).all()
    assert (decode_views(some, 16, ("wrist",)) == split_views(found, 2)[1]).all()
    with pytest.raises(ValueError):
        split_views(found, 3)
    with pytest.raises(ValueError):
        decode_views(some, 16, ("top",))


class TestPacked:
    def test_round_trip(self):
        some = frames(4)
        assert same(with_views(list(map(bytes, some)), *pack_views(some)), some)
        assert pack_views([b"a", b"b"]) == ({}, {}) and with_views([b"a"], {}, {}) == [b"a"]
        one = frames(2, cameras=("wrist",))
        assert same(with_views(list(map(bytes, one)), *pack_views(one)), one)

    @pytest.mark.parametrize(
        "change",
        [
            lambda a, m: m.update(cameras=["scene"]),
            lambda a, m: m.update(cameras=["scene", "scene"]),
            lambda a, m: m.update(cameras=["scene", 3]),
            lambda a, m: m.update(cameras="ab"),
            lambda a, m: m.update(cameras=[f"c{i}" for i in range(99)]),
            lambda a, m: m.pop("cameras"),
            lambda a, m: a.pop("views_offsets"),
            lambda a, m: a.update(views=a["views"][:-5]),
            lambda a, m: a.update(views=np.zeros_like(a["views"])),
            lambda a, m: a.update(views_offsets=a["views_offsets"][::-1].copy()),
        ],
    )
    def test_what_is_damaged_is_refused(self, change):
        bundle = episode().to_bundle()
        arrays, meta = dict(bundle.arrays), dict(bundle.meta)
        change(arrays, meta)
        with pytest.raises(BundleError):
            Episode.from_bundle(Bundle("episode", arrays, meta))

    def test_an_episode_travels(self):
        one = episode()
        other = Episode.from_bundle(decode(encode(one.to_bundle()), "episode"))
        assert same(other.jpegs, one.jpegs) and other.spaces == TWO

    def test_an_episode_of_one_camera_is_as_before(self):
        bundle = make_episode().to_bundle()
        assert "views" not in bundle.arrays and "cameras" not in bundle.meta

    def test_frames_and_spaces_must_agree(self):
        for jpegs, spaces in ((frames(6), PLAIN), ([tagged_jpeg("x")] * 6, TWO), (frames(6, "", ("a", "b")), TWO)):
            with pytest.raises(ValueError):
                make_episode(0, 5, jpegs=jpegs, spaces=spaces)

    def test_fewer_cameras_than_it_has(self):
        one = episode().seen_as(with_cameras(PLAIN, ("wrist",), 32))
        assert cameras_of(one.jpegs) == ("wrist",)
        plain = episode().seen_as(PLAIN)
        assert cameras_of(plain.jpegs) == () and plain.jpegs[0] == tagged_jpeg("scene e0 0")

    def test_queries_and_labels_travel(self):
        segment = make_segment(length=2, jpegs=frames(2))
        batch = QueryBatch(0, [Query(segment)])
        back = QueryBatch.from_bundle(decode(encode(batch.to_bundle()), "queries"))
        assert same(back.segments[0].jpegs, segment.jpegs) and len(back.queries[0].images) == 4
        labels = LabelBatch(0, 5, 1, [Label(Query(segment), 2)])
        back = LabelBatch.from_bundle(decode(encode(labels.to_bundle()), "labels"))
        assert same(back.labels[0].segment.jpegs, segment.jpegs)


def test_the_buffer_and_its_checkpoint(tmp_path):
    replay = ReplayBuffer(100, 19, 3, 10, TWO)
    for index in range(2):
        replay.add_episode(episode(index))
    save_state(tmp_path / "x.safetensors", replay.state_dict(), "learner")
    other = ReplayBuffer(100, 19, 3, 10, TWO)
    other.load_state_dict(load_state(tmp_path / "x.safetensors", "learner"))
    assert same(other.frame_jpegs, replay.frame_jpegs)
    with pytest.raises(ValueError):
        replay.add_episode(make_episode(2, 5, spaces=PLAIN))
    with pytest.raises(ValueError):
        ReplayBuffer(100, 19, 3, 10, PLAIN).load_state_dict(replay.state_dict())


def test_a_dataset(tmp_path):
    write_dataset(tmp_path / "d", "drawer_open", [episode(0), episode(1)], "test")
    assert survey(tmp_path / "d").spaces == TWO
    survey(tmp_path / "d").require(PLAIN)
    (first, *_) = unseen(DatasetSource(str(tmp_path / "d"), False), lambda: 0, TWO)
    assert same(first.episode.jpegs, episode(0).jpegs)
    write_dataset(tmp_path / "p", "drawer_open", [make_episode(spaces=PLAIN)], "test")
    with pytest.raises(ValueError):
        survey(tmp_path / "p").require(TWO)


def test_the_ledger_keeps_every_image(tmp_path):
    segment = make_segment(length=2, jpegs=frames(2), spaces=None)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        row = ledger.add_query("d" * 64, Query(segment), 0, "endpoint", "t", 5, "m", {}, {}, list("abcde"), RATING)
        ledger.add_rating(row.result(), 3, "", 1).result()
        ((_, label),) = ledger.labels()
    assert same(label.segment.jpegs, segment.jpegs) and label.value == 3
