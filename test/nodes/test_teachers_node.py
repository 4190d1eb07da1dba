# SPDX-License-Identifier: Apache-2.0
"""vlm_rater with teachers other than a model, as a process over DDS."""

import json
import urllib.request

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Joy
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import LabelBatch, Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer


def segments(count, round_=0, size=32, kind="rating"):
    jpeg = encode_jpeg(np.full((size, size, 3), 40 * round_, np.uint8))
    made = [
        Segment(f"e{round_}_t{i}_h1", [jpeg], np.zeros((1, 10)), np.zeros((1, 3)), np.array([100 + i]))
        for i in range(count)
    ]
    return convert.bytes_message(encode(QueryBatch.of(round_, made, kind).to_bundle()))


class Desk:
    """The rest of the graph."""

    def __init__(self, ros):
        self.ros = ros
        self.ratings = ros.collect(UInt8MultiArray, names.LABELS, qos.bulk())
        self.figures = ros.collect(DiagnosticArray, names.METRICS, qos.metrics())

    def round(self, number):
        self.ros.until(lambda: len(self.ratings) > number, f"ratings of round {number}")
        return LabelBatch.from_bundle(decode(convert.bytes_of(self.ratings[number]), "labels"))

    def newest(self, key):
        """The newest value in words of vlm_rater's figures."""
        texts = [convert.texts_of(m).get("vlm_rater", {}) for m in self.figures]
        return texts[-1].get(key) if texts else None


class Page:
    """The person's page, as a browser sees it."""

    def __init__(self, ros):
        self.url = (ros.folder / "human_page.url").read_text().strip()
        self._address, self._query = self.url.split("?")

    def state(self):
        return json.load(urllib.request.urlopen(f"{self._address}state?{self._query}", timeout=10))

    def rate(self, class_):
        press = json.dumps({"action": "rate", "key": self.state()["key"], "class": class_}).encode()
        urllib.request.urlopen(f"{self._address}press?{self._query}", press, timeout=10)


def test_a_person_rates_on_the_page_and_by_joystick(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="human", human__port=0, human__undo_s=0.0, human__joy_buttons=[4, 3, 2, 1, 0],
              ledger=str(ros.folder / "ledger.sqlite"))  # fmt: skip
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    joystick = ros.publisher(Joy, names.JOY, qos.sensor(True))
    page = Page(ros)
    assert str(ros.folder / "human_page.url") in ros.log("vlm_rater") and page.url.startswith("http://127.0.0.1:")
    asked.publish(segments(2))
    ros.until(lambda: page.state()["key"], "the first segment on the page")
    page.rate(4)
    assert page.state()["index"] == 2
    ros.until(lambda: joystick.publish(Joy(buttons=[0, 0, 0, 1, 0])) or desk.ratings, "the press to be heard")
    batch = desk.round(0)
    assert [r.value for r in batch.labels] == [4, 1] and batch.teacher == "human"
    ros.until(lambda: desk.newest("teacher") == "human", "figures")


def test_the_simulations_truth_rates_and_is_called_scripted(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="scripted", scripted__timeout_s=1.0, ledger=str(ros.folder / "ledger.sqlite"))
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    truth = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
    asked.publish(segments(3))
    for stamp, value in ((100, 3), (101, 0)):
        classes = {f"class_{n}": float(value) for n in (2, 3, 4, 5)}
        truth.publish(convert.metrics_message("ground_truth", {"success": 0.0, "progress": 0.0, **classes}, stamp))
    batch = desk.round(0)
    assert [(r.value, r.reason) for r in batch.labels] == [(3, ""), (0, ""), (-1, "no_truth")]
    assert batch.teacher == "scripted"
    ros.until(lambda: desk.newest("teacher") == "scripted", "figures")
    assert "for benchmarks only" in ros.log("vlm_rater")


def test_a_kind_of_feedback_from_outside_the_package(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="scripted", feedback="toy_feedback:COIN", ledger=str(ros.folder / "ledger.sqlite"))
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    truth = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
    log = ros.collect(DiagnosticArray, names.LABEL_LOG, qos.metrics())
    asked.publish(segments(2))  # ratings are not what this teacher answers
    assert [r.reason for r in desk.round(0).labels] == ["bad_query"] * 2
    asked.publish(segments(2, 1, kind="coin_flip"))
    for stamp, progress in ((100, 0.9), (101, 0.1)):
        values = {"success": 0.0, "progress": progress, "class_5": 0.0}
        truth.publish(convert.metrics_message("ground_truth", values, stamp))
    batch = desk.round(1)
    assert [r.value for r in batch.labels] == [1, 0] and batch.classes == ["Tails", "Heads"]
    assert batch.kind == "coin_flip" and batch.n_classes == 2
    ros.until(lambda: len(log) == 2, "the log")
    assert [status.message for status in log[1].status] == ["Heads!", "Tails!"]


def test_a_model_is_audited_by_the_simulations_truth(ros):
    desk = Desk(ros)
    jpeg = encode_jpeg(np.full((32, 32, 3), 90, np.uint8))
    with StandinServer(Answerer(AnswererConfig(task="drawer_open"))) as server:
        ros.start("vlm_rater", base_url=server.base_url, audit__share=0.5, audit__teacher="scripted",
                  scripted__timeout_s=5.0, ledger=str(ros.folder / "ledger.sqlite"))  # fmt: skip
        asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
        truth = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
        for stamp in (100, 101):
            classes = {f"class_{n}": 1.0 for n in (2, 3, 4, 5)}
            truth.publish(convert.metrics_message("ground_truth", {"success": 0.0, "progress": 0.0, **classes}, stamp))
        places = [Segment(f"e0_t{i}_h1", [jpeg], np.full((1, 10), i), np.zeros((1, 3)), np.array([100 + i]))
                  for i in range(2)]  # fmt: skip
        asked.publish(convert.bytes_message(encode(QueryBatch.of(0, places).to_bundle())))
        batch = desk.round(0)
        assert sorted((r.value, r.audited) for r in batch.labels) == [(0, False), (1, True)]
        assert batch.teacher == "vlm audited by scripted"
        ros.until(lambda: desk.newest("teacher") == "vlm audited by scripted", "figures")
    assert "for benchmarks only" in ros.log("vlm_rater")


def test_a_model_is_audited_by_a_person_on_the_page(ros):
    desk = Desk(ros)
    with StandinServer(Answerer(AnswererConfig(task="drawer_open"))) as server:
        ros.start("vlm_rater", base_url=server.base_url, audit__share=0.5, human__port=0, human__undo_s=0.0,
                  ledger=str(ros.folder / "ledger.sqlite"))  # fmt: skip
        asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
        page = Page(ros)
        asked.publish(segments(2))
        ros.until(lambda: page.state()["key"], "an audit on the page")
        assert not desk.ratings  # the round waits for it
        page.rate(3)
        batch = desk.round(0)
    assert sorted((r.value, r.audited) for r in batch.labels) == [(0, False), (3, True)]
    assert batch.teacher == "vlm audited by human"


def test_segments_that_a_teacher_cannot_rate_do_not_keep_the_learner_waiting(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="human", human__port=0, feedback="transitions", ledger=str(ros.folder / "l.sqlite"))
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    asked.publish(segments(2, kind="transitions"))
    assert [(r.value, r.reason) for r in desk.round(0).labels] == [(-1, "bad_query")] * 2
    ros.until(lambda: "segment_length" in ros.log("vlm_rater"), "the reason in the log")
    asked.publish(segments(2, 1, size=8, kind="transitions"))
    assert [r.reason for r in desk.round(1).labels] == ["bad_query"] * 2
    ros.until(lambda: "segment e1_t0_h1, frame 1: 8x8 pixels" in ros.log("vlm_rater"), "the size in the log")


def test_a_wrong_teacher_is_refused_at_start(ros):
    for parameters, words in (
        ({"teacher": "ensemble"}, "at least two votes"),
        ({"teacher": "human", "human__port": 0, "human__joy_buttons": [1, 2]}, "joy_buttons"),
    ):
        process = ros.start("vlm_rater", check_endpoint=False, ledger=str(ros.folder / "l.sqlite"), **parameters)
        ros.until(lambda p=process: p.poll() is not None, f"{parameters} to be refused")
        assert process.returncode == 2 and words in ros.log("vlm_rater").splitlines()[-1]


def test_the_truth_compares_pairs_in_both_orders(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="scripted", feedback="preference", both_orders=True, scripted__timeout_s=1.0,
              ledger=str(ros.folder / "ledger.sqlite"))  # fmt: skip
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    truth = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
    one, two, three = QueryBatch.from_bundle(decode(convert.bytes_of(segments(3)), "queries")).segments
    batch = QueryBatch(0, [Query(one, two), Query(two, one), Query(one, three)], "preference")
    asked.publish(convert.bytes_message(encode(batch.to_bundle())))
    for stamp, progress in ((100, 0.2), (101, 0.9)):
        classes = {f"class_{n}": 0.0 for n in (2, 3, 4, 5)}
        values = {"success": 0.0, "progress": progress, **classes}
        truth.publish(convert.metrics_message("ground_truth", values, stamp))
    labels = desk.round(0)  # of the third frame no truth comes
    assert [label.value for label in labels.labels] == [1, 0, -1] and labels.labels[2].reason == "no_truth"
    assert labels.kind == "preference" and labels.classes == ["First", "Second", "No preference"]
    assert [len(label.query) for label in labels.labels] == [2, 2, 2] and labels.teacher == "scripted"


def test_both_kinds_are_answered_each_in_its_own(ros):
    desk = Desk(ros)
    ros.start("vlm_rater", teacher="scripted", feedback="both", scripted__timeout_s=1.0,
              ledger=str(ros.folder / "ledger.sqlite"))  # fmt: skip
    asked = ros.publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
    truth = ros.publisher(DiagnosticArray, names.GROUND_TRUTH, qos.truth())
    log = ros.collect(DiagnosticArray, names.LABEL_LOG, qos.metrics())
    for stamp, progress in ((100, 0.2), (101, 0.9)):
        classes = {f"class_{n}": 1.0 for n in (2, 3, 4, 5)}
        values = {"success": 0.0, "progress": progress, **classes}
        truth.publish(convert.metrics_message("ground_truth", values, stamp))
    asked.publish(segments(2))
    one, two = QueryBatch.from_bundle(decode(convert.bytes_of(segments(2)), "queries")).segments
    pairs = QueryBatch(1, [Query(one, two), Query(two, one)], "preference")
    asked.publish(convert.bytes_message(encode(pairs.to_bundle())))
    asked.publish(segments(2, 2, kind="transitions"))  # nobody was set to answer these
    rated, compared, refused = sorted((desk.round(i) for i in range(3)), key=lambda batch: batch.round)
    assert (rated.kind, rated.n_classes, [label.value for label in rated.labels]) == ("rating", 5, [1, 1])
    assert (compared.kind, [label.value for label in compared.labels]) == ("preference", [1, 0])
    assert len(rated.classes) == 5 and compared.classes == ["First", "Second", "No preference"]
    assert [label.reason for label in refused.labels] == ["bad_query"] * 2
    ros.until(lambda: len(log) == 3, "the log")
    assert "Second" in [status.message for entry in log for status in entry.status]
