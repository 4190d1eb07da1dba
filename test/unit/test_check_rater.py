# SPDX-License-Identifier: Apache-2.0
"""`erl-vlm check-rater`: frames from folders, bags and CSVs; real queries to the stand-in; report, verdict, files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros import cli
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bag import read_images
from erl_vlm_ros.feedback.check import frames as check_frames
from erl_vlm_ros.feedback.check.check import ask, make_candidates
from erl_vlm_ros.feedback.check.frames import CheckFrames, load_frames, read_reference
from erl_vlm_ros.feedback.check.verdict import NOT_USABLE, USABLE, WITH_CARE, judge, summary
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.noise_model import load_noise_model
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer

TASK = load_task("drawer_open")
NAMES = {5: TASK.class_names(5)}


def image(value, kind=".jpg"):
    return cv2.imencode(kind, np.full((32, 40, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    """Two trajectories of images, JPEG and PNG."""
    for run, count in (("a", 12), ("b", 3)):
        (tmp_path / "frames" / run).mkdir(parents=True)
        for i in range(count):
            kind = ".png" if run == "b" else ".jpg"
            (tmp_path / "frames" / run / f"f{i}{kind}").write_bytes(image(10 * i, kind))
    return tmp_path / "frames"


# -- frames


def test_a_folder_is_read_in_the_order_of_its_numbers(folder):
    frames = load_frames(str(folder), "drawer_open", 100)
    assert frames.names == [*(f"a/f{i}.jpg" for i in range(12)), *(f"b/f{i}.png" for i in range(3))]
    assert frames.trajectory.tolist() == [0] * 12 + [1] * 3
    assert all(jpeg[:2] == b"\xff\xd8" for jpeg in frames.jpegs)  # PNG becomes JPEG
    assert frames.jpegs[3] == (folder / "a" / "f3.jpg").read_bytes()  # a JPEG stays as it is
    few = load_frames(str(folder), "drawer_open", 4)
    assert few.names == ["a/f0.jpg", "a/f5.jpg", "a/f9.jpg", "b/f2.png"]


def test_reference_labels_by_name_or_number(folder, tmp_path):
    frames = load_frames(str(folder), "drawer_open", 100)
    table = tmp_path / "labels.csv"
    table.write_text("frame,class\na/f0.jpg,Very Bad\na/f1.jpg,4\nnot/there.jpg,0\na/f2.jpg,\n")
    labels = read_reference(table, frames, NAMES)[5]
    assert labels[:4].tolist() == [0, 4, -1, -1]
    table.write_text("frame,class_5,class_2\na/f0.jpg,3,Good\n")
    both = read_reference(table, frames, {5: NAMES[5], 2: TASK.class_names(2)})
    assert (both[5][0], both[2][0]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "line", "fields"),
    [
        ("name,class\nx,1\n", 1, {"code": Code.UNREADABLE}),
        ("frame,class\na/f0.jpg,Splendid\n", 2, {"parameter": "class", "code": Code.UNKNOWN, "shows": "Splendid"}),
        ("frame,class\na/f0.jpg,1\na/f1.jpg,5\n", 3, {"parameter": "class", "code": Code.UNKNOWN}),
        ("frame,class\nelsewhere.jpg,1\n", 0, {"code": Code.DOES_NOT_FIT}),
    ],
)
def test_wrong_reference_labels_are_refused_by_line(folder, tmp_path, text, line, fields):
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with refused(ConfigError, file=f"{file}:{line}" if line else file, **fields):
        read_reference(file, load_frames(str(folder), "drawer_open", 50), NAMES)


def test_sources_that_are_none_are_refused(folder, tmp_path):
    with refused(ConfigError, parameter="frames", code=Code.MISSING_FILE, file=tmp_path / "none"):
        load_frames(str(tmp_path / "none"), "drawer_open", 5)
    (tmp_path / "empty").mkdir()
    with refused(ConfigError, parameter="frames", code=Code.UNREADABLE, file=tmp_path / "empty"):
        load_frames(str(tmp_path / "empty"), "drawer_open", 5)
    (folder / "a" / "f3.jpg").write_bytes(b"no image")
    with refused(ConfigError, code=Code.UNREADABLE, file=folder / "a" / "f3.jpg"):
        load_frames(str(folder), "drawer_open", 50)
    with refused(ConfigError, parameter="count", shows="--count"):
        load_frames(str(folder), "drawer_open", 1)


# -- bags


def write_bag(path, storage, raw=4, compressed=0, depth=0):
    """A bag of small images, written with rosbags."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    header = lambda i: types["std_msgs/msg/Header"](  # noqa: E731
        stamp=types["builtin_interfaces/msg/Time"](sec=5, nanosec=i), frame_id="camera"
    )
    with rosbag2.Writer(path, version=9, storage_plugin=storage(rosbag2.StoragePlugin)) as writer:
        kind = "sensor_msgs/msg/Image"
        connections = {}
        for topic, count, encoding in (("/cam/image_raw", raw, "bgr8"), ("/cam/depth/image_rect", depth, "16UC1")):
            if count:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            for i in range(count):
                data = np.full((32, 40, 3), (200, 10 * i, 0), np.uint8)
                message = types[kind](header(i), 32, 40, encoding, 0, 120, data.ravel())
                writer.write(connections[topic], 10 + i, store.serialize_cdr(message, kind))
        if compressed:
            kind = "sensor_msgs/msg/CompressedImage"
            connection = writer.add_connection("/cam/image_raw/compressed", kind, typestore=store)
            for i in range(compressed):
                data = np.frombuffer(image(10 * i, ".png" if i == 1 else ".jpg"), np.uint8)
                message = types[kind](header(i), "jpeg", data)
                writer.write(connection, 10 + i, store.serialize_cdr(message, kind))


@pytest.mark.parametrize("plugin", ["SQLITE3", "MCAP"])
def test_images_of_a_bag(tmp_path, plugin):
    write_bag(tmp_path / "bag", lambda plugins: plugins[plugin], raw=4, depth=2)
    images = read_images(tmp_path / "bag")
    assert [stamp for stamp, _ in images] == [5 * 10**9 + i for i in range(4)]
    image = cv2.imdecode(np.frombuffer(images[3][1], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (32, 40, 3)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 30, 0), atol=4)  # blue is still blue
    frames = load_frames(str(tmp_path / "bag"), "drawer_open", 3, good=True)
    assert len(frames) == 3 and frames.good
    file = next(p for p in (tmp_path / "bag").iterdir() if p.suffix in (".db3", ".mcap"))
    if plugin == "MCAP":
        assert len(read_images(file)) == 4
    with refused(
        ConfigError, parameter="topic", code=Code.UNKNOWN, file=tmp_path / "bag", shows=("/other", "image_raw")
    ):
        read_images(tmp_path / "bag", "/other")
    with refused(ConfigError, parameter="topic", code=Code.UNREADABLE, file=tmp_path / "bag", shows="16UC1"):
        read_images(tmp_path / "bag", "/cam/depth/image_rect")


def test_the_compressed_stream_is_taken_and_jpegs_stay_as_they_are(tmp_path):
    write_bag(tmp_path / "bag", lambda plugins: plugins.SQLITE3, raw=2, compressed=3)
    images = read_images(tmp_path / "bag")
    assert len(images) == 3
    assert images[2][1] == image(20)
    assert images[1][1][:2] == b"\xff\xd8"  # was a PNG


def test_a_bag_that_is_none_is_refused(tmp_path):
    pytest.importorskip("rosbags")
    (tmp_path / "metadata.yaml").write_text("nothing: here\n")
    with refused(ConfigError, code=Code.UNREADABLE, file=tmp_path):
        read_images(tmp_path)


# -- asking


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Frames of the simulation, and their labels; rendered once."""
    import erl_vlm_ros.sim  # noqa: F401

    pytest.importorskip("mujoco")
    try:
        return load_frames("sim", "drawer_open", 60, seed=4)
    except ConfigError as error:
        pytest.skip(f"nothing can be rendered here: {error}")


def test_simulated_frames_have_classes_and_neighbours(simulated):
    assert len(simulated) == 60
    assert set(simulated.reference) == {2, 3, 4, 5}
    assert len(np.unique(simulated.reference[5])) >= 4
    steps = np.abs(np.diff(simulated.reference[5]))[np.diff(simulated.trajectory) == 0]
    assert steps.max() <= 2 and (steps == 0).mean() > 0.6


def test_every_repeat_is_a_query_of_its_own_and_none_is_asked_twice(folder, tmp_path):
    frames = load_frames(str(folder), "drawer_open", 5)
    answerer = Answerer(AnswererConfig(error_rate=0.4, task="drawer_open", seed=1))
    config = RaterConfig(max_queries=1000, temperature=0.7, backoff_s=0.01)
    with StandinServer(answerer) as server:
        config = RaterConfig(base_url=server.base_url, max_queries=1000, temperature=0.7)
        ledger = Ledger(tmp_path / "ledger.sqlite")
        (first,) = ask(frames, make_candidates(["stand-in"], ["default"]), [5], 6, config, TASK, ledger)
        requests = server.requests.total()
        (again,) = ask(frames, make_candidates(["stand-in"], ["default"]), [5], 6, config, TASK, ledger)
        ledger.close()
        assert server.requests.total() - requests <= 1  # it is only looked whether the endpoint is there
    assert first.ratings.shape == (6, 5)
    assert first.asked == 30 and again.asked == 0
    assert len({tuple(row) for row in first.ratings}) > 1  # a model that samples does not repeat itself
    np.testing.assert_array_equal(first.ratings, again.ratings)


def test_a_check_beyond_its_budget_asks_nothing(folder, tmp_path):
    frames, ledger = load_frames(str(folder), "drawer_open", 5), Ledger(tmp_path / "ledger.sqlite")
    with refused(ConfigError, parameter="max_queries", code=Code.DOES_NOT_FIT, shows=("50", "--max-queries 49")):
        ask(frames, make_candidates(["m"], ["default"]), [5], 10, RaterConfig(max_queries=49), TASK, ledger)
    ledger.close()


def test_candidates():
    names = [c.name for c in make_candidates(["a/b", "c"], ["default", "reworded"], ["mirrored"])]
    assert names == ["a-b+default", "a-b+reworded", "c+default", "c+reworded", "a-b+mirrored"]
    for arguments in ((["a"], ["default"], ["upside_down"]), (["a", "a"], ["default"]), ([], ["default"])):
        with pytest.raises(ConfigError):
            make_candidates(*arguments)


@pytest.mark.slow
def test_the_command_from_frames_to_verdict(simulated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check_frames, "_simulated", lambda task, count, seed: simulated)
    answerer = Answerer(AnswererConfig(systematic_rate=0.3, sharing=1.0, seed=8))
    with StandinServer(answerer) as server:
        arguments = [
            "check-rater", "--task", "drawer_open", "--frames", "sim", "--repeats", "2", "--classes", "3", "5",
            "--variation", "mirrored", "--base-url", server.base_url, "--out", str(tmp_path / "out"),
        ]  # fmt: skip
        assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "stand-in+default, n=5:" in out and "Take n=" in out or "not usable" in out
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"report.md", "report.json", "curve.png", "ledger.sqlite"} <= files
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    row = next(r for r in report["raters"] if r["rater"] == "stand-in+default" and r["n"] == 5)
    matrix = np.array(row["confusion"])
    assert matrix.sum() == 120 == row["answers"]
    assert row["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-5)
    assert row["repeat_agreement"] == 1.0  # deterministic, and yet often wrong
    assert row["tokens_in"] > 0 and row["cost"] is None or row["cost"] >= 0
    between = next(b for b in report["between"] if b["n"] == 5)
    assert between["agreement"] > 0.9  # everything is shared
    model = load_noise_model(tmp_path / "out" / "noise_stand-in+default_n5.yaml", 5, "drawer_open")
    assert model.systematic_share == pytest.approx(row["systematic_share"], abs=1e-5)
    assert model.provenance["rater"] == "stand-in+default"
    curve = cv2.imread(str(tmp_path / "out" / "curve.png"))
    assert curve.shape[0] > 400 and curve.std() > 5
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| stand-in+mirrored | 3 |" in text and "| Very Good |" in text
    AnswererConfig(noise_model=model)  # the stand-in takes it


def test_an_endpoint_that_is_not_there_ends_with_one_line(folder, tmp_path, capsys):
    code = cli.main(
        ["check-rater", "--task", "drawer_open", "--frames", str(folder), "--repeats", "1", "--classes", "3",
         "--base-url", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "out")]
    )  # fmt: skip
    assert code == cli.EXIT_CONFIG
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("erl-vlm: base_url http://127.0.0.1:9/v1 cannot be reached")


def test_a_check_without_reference_labels_does_not_claim_to_know(folder, tmp_path, capsys):
    answerer = Answerer(AnswererConfig(task="drawer_open"))
    with StandinServer(answerer) as server:
        code = cli.main(
            ["check-rater", "--task", "drawer_open", "--frames", str(folder), "--repeats", "2", "--classes", "3",
             "--base-url", server.base_url, "--out", str(tmp_path / "out"), "--good"]
        )  # fmt: skip
    assert code == 0
    assert "not usable" in capsys.readouterr().out  # grey images: always the same class
    assert not list((tmp_path / "out").glob("noise_*"))
    shutil.rmtree(tmp_path / "out")


# -- verdict


def figures(**changes):
    base = {
        "valid_share": 1.0, "repeat_agreement": 0.95, "mix": [10, 10, 10], "good": False, "accuracy": 0.85,
        "base_rate": 0.4, "top_recall": 0.9, "false_top": 0.03, "systematic_share": 0.02,
        "systematic_interval": [0.0, 0.05], "systematic_p": 0.6, "like_pairs": 100, "progress_correlation": 0.8,
    }  # fmt: skip
    return base | changes


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({}, USABLE, "no sign that errors belong"),
        ({"valid_share": 0.5}, NOT_USABLE, "only 50% of the answers"),
        ({"repeat_agreement": 0.4}, NOT_USABLE, "repeats agree in 40%"),
        ({"mix": [30, 0, 0]}, NOT_USABLE, "all answers are the same class"),
        ({"accuracy": 0.5}, NOT_USABLE, "50% right"),
        ({"accuracy": 0.62, "base_rate": 0.7}, NOT_USABLE, "no better than always naming"),
        ({"accuracy": 0.65}, WITH_CARE, "twice the ratings"),
        ({"top_recall": 0.2}, NOT_USABLE, "success would go unrewarded"),
        ({"false_top": 0.2}, WITH_CARE, "policies go there"),
        ({"systematic_share": 0.15, "systematic_p": 0.001}, WITH_CARE, "ratings audited (vlm_rater.audit.share)"),
        ({"systematic_share": 0.4, "systematic_p": 0.001}, NOT_USABLE, "policies move into"),
        ({"systematic_share": 0.4, "systematic_p": 0.3}, USABLE, "no sign"),
        ({"like_pairs": 3}, WITH_CARE, "too few views"),
        ({"accuracy": None}, WITH_CARE, "no reference labels"),
        ({"accuracy": None, "good": True, "progress_correlation": 0.1}, NOT_USABLE, "rank correlation of 0.10"),
        ({"accuracy": float("nan"), "progress_correlation": None}, WITH_CARE, "no reference labels"),
    ],
)
def test_the_verdict_and_its_reason(changes, word, reason):
    verdict = judge(figures(**changes))
    assert verdict.word == word
    assert any(reason in line for line in verdict.reasons)


def test_the_summary_names_what_to_take():
    good, bad = judge(figures()), judge(figures(valid_share=0.1))
    lines = summary([("a", 2, good, 0.5), ("a", 3, good, 0.9), ("b", 2, bad, 0.1)])
    assert lines == ["a: usable with n=2, n=3. Take n=3", "b: not usable"]


def test_frames_can_be_taken_apart():
    frames = CheckFrames(["a", "b"], [b"1", b"2"], np.array([0, 1]), {3: np.array([2, 0])}, True, str(Path("x")))
    part = frames.take(np.array([1]))
    assert (part.names, part.reference[3].tolist(), part.good) == (["b"], [0], True)
