# SPDX-License-Identifier: Apache-2.0
"""vlm_rater while its endpoint is away: rounds end, diagnostics say so, and it goes on when the endpoint is back."""

from diagnostic_msgs.msg import DiagnosticArray
from factories import make_queries, tagged_jpeg
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import FaultConfig, StandinServer


def segments(number, count=6):
    return make_queries(count, number, episode=number, jpegs=[tagged_jpeg(str(number), 64)])


def test_an_outage_is_told_and_ends(ros):
    ratings = ros.collect(UInt8MultiArray, names.LABELS, qos.bulk())
    metrics = ros.collect(DiagnosticArray, names.METRICS, qos.metrics())
    states = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 10)
    asked = ros.node.create_publisher(UInt8MultiArray, names.QUERIES, qos.bulk())

    def figures():
        found = [convert.metrics_of(m)["vlm_rater"] for m in metrics if "vlm_rater" in convert.metrics_of(m)]
        return found[-1] if found else {}

    def words():
        return [s.message for m in states for s in m.status if s.name == "vlm_rater: teacher"]

    def ask(number):
        asked.publish(convert.bytes_message(encode(segments(number).to_bundle())))
        ros.until(lambda: len(ratings) == number + 1, f"round {number}")
        return LabelBatch.from_bundle(decode(convert.bytes_of(ratings[number]), "labels"))

    with StandinServer(Answerer(AnswererConfig())) as server:
        ros.start(
            "vlm_rater", base_url=server.base_url, ledger=str(ros.folder / "ledger.sqlite"), max_retries=0,
            concurrency=1, breaker_failures=3, breaker_pause_s=0.1, when_down="no_rating",
        )  # fmt: skip
        ros.until(lambda: asked.get_subscription_count() == 1, "the rater to listen")
        ros.until(lambda: figures().get("breaker_open") == 0.0, "its figures")
        server.faults = FaultConfig(1.0, ("server_error",))  # after the probe at the start
        lost = ask(0)
        reasons = [r.reason for r in lost.labels]
        assert reasons[:3] == ["http_500"] * 3 and set(reasons[3:]) <= {"http_500", "endpoint_down"}
        assert lost.requested == 0  # the learner may ask again
        ros.until(lambda: figures().get("breaker_open", 0.0) > 0.0, "word of the outage")
        assert figures()["spent_queries"] == 0.0
        ros.until(lambda: any("the endpoint is away (HTTP 500" in s for s in words()), "the same on /diagnostics")
        server.faults = FaultConfig()
        number = 1
        while not ask(number).valid:  # the breaker's pause may not be over yet
            number += 1
            assert number < 50
        ros.until(lambda: figures().get("breaker_open") == 0.0 and figures()["valid"] > 0, "word of its end")
        ros.until(lambda: words()[-1] == "rating", "the end on /diagnostics")
        assert ros.stop("vlm_rater") == 0


def test_a_wrong_price_table_is_refused_at_start(ros):
    prices = ros.folder / "prices.yaml"
    prices.write_text("models: {m: {input: 1}}")
    process = ros.start("vlm_rater", ledger=str(ros.folder / "ledger.sqlite"), prices=str(prices))
    ros.until(lambda: process.poll() is not None, "vlm_rater to refuse it")
    log = ros.log("vlm_rater")
    assert process.returncode == 2 and "prices.yaml:1: models.m.currency: is missing" in log and "Traceback" not in log
