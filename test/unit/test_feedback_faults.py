# SPDX-License-Identifier: Apache-2.0
"""The rater against an endpoint that does what it is told: limits, outages, budgets, broken and endless answers."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
import tracemalloc

import pytest
from factories import make_queries
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater

PRICES = (
    "models:\n  m: {currency: EUR, input: 1000, output: 1000, image_tokens: 10, checked: 2026-11-20, source: x}\n"
    "  d: {currency: USD, input: 1, output: 1, checked: 2026-11-20, source: x}\n"
)


def batch(count, start=0):
    return make_queries(count, start=start)


def chat(text="Good", status=200, tokens=(70, 3), **more):
    """A response of the endpoint: (status, extra headers, body)."""
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]} if tokens else None
    message = {"role": "assistant", "content": text}
    body = {"model": "m-1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": usage} | more
    return status, "", json.dumps(body).encode()


class Script:
    """Serves whatever ``reply(request, n)`` gives: (status, headers, body), bytes as they are, or None to hang."""

    def __init__(self, reply):
        self.reply, self.requests, self.times, self.headers, self.sent = reply, [], [], [], 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        [task.cancel() for task in tasks]
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.server.close()
        self.loop.close()

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.I)
                body = await reader.readexactly(int(length.group(1)) if length else 0)
                self.times.append(time.monotonic())
                self.headers.append(head)
                self.requests.append(json.loads(body) if body else {})
                answer = self.reply(self.requests[-1], len(self.requests) - 1)
                if callable(answer):
                    await answer(self, writer)
                    break
                if isinstance(answer, bytes):
                    writer.write(answer)
                    break
                status, extra, content = answer
                writer.write(f"HTTP/1.1 {status} -\r\n{extra}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def close(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()


@pytest.fixture
def bench(tmp_path):
    """bench(reply, **options) -> (script, rater) on one ledger; ``bench.ledger`` and ``bench.folder``."""
    open_things = []
    (tmp_path / "prices.yaml").write_text(PRICES)

    def make(reply, **options):
        script = reply if isinstance(reply, Script) else Script(reply)
        defaults = {"model": "m", "n_classes": 3, "two_stage": False, "backoff_s": 0.01, "timeout_s": 5.0}
        defaults["prices"] = str(tmp_path / "prices.yaml")
        config = RaterConfig(base_url=script.url, **{**defaults, **options})
        rater = VlmRater(config, load_task("drawer_open"), make.ledger)
        open_things.extend([script, rater])
        return script, rater

    make.ledger, make.folder = Ledger(tmp_path / "l.sqlite"), tmp_path
    yield make
    for thing in reversed(open_things):
        thing.close()
    make.ledger.close()


def reasons(rater, count, start=0):
    return [r.reason for r in rater.label_batch(batch(count, start)).labels]


# -- pauses and limits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [("Retry-After: 0.6\r\n", b"{}", 0.6), ("", b'{"error": {"details": [{"retryDelay": "0.6s"}]}}', 0.6)],
)
def test_a_pause_that_is_asked_for_holds_everyone(bench, headers, body, seconds):
    script, rater = bench(lambda _, n: (429, headers, body) if n == 0 else chat(), concurrency=4)
    assert len(rater.label_batch(batch(1)).valid) == 1
    assert script.times[1] - script.times[0] >= seconds
    script, rater = bench(lambda _, n: (429, headers, body) if n == 0 else chat(), concurrency=1)
    assert len(rater.label_batch(batch(3, start=10)).valid) == 3
    assert min(t - script.times[0] for t in script.times[1:]) >= seconds


def test_a_pause_longer_than_patience_is_no_rating_at_once(bench):
    script, rater = bench(lambda _, n: (429, "Retry-After: 3600\r\n", b"{}"), give_up_s=30.0, concurrency=1)
    start = time.monotonic()
    assert reasons(rater, 3) == ["rate_limit"] * 3
    assert time.monotonic() - start < 20.0 and len(script.requests) == 1
    assert rater.stats()["spent_queries"] == 0


def test_a_spent_quota_is_not_asked_again(bench):
    script, rater = bench(lambda _, n: (429, "", b'{"error": {"code": "insufficient_quota"}}'), max_retries=5)
    assert reasons(rater, 1) == ["quota"] and len(script.requests) == 1
    assert "insufficient_quota" in rater.texts()["endpoint_error"]


def test_requests_per_minute(bench):
    script, rater = bench(lambda *_: chat(), requests_per_minute=5, give_up_s=1.0, concurrency=8)
    rated = rater.label_batch(batch(8)).labels
    assert [r.reason for r in rated].count("rate_limit") == 3 and len(script.requests) == 5
    rater.close()
    _, again = bench(script, requests_per_minute=6, give_up_s=1.0)  # the minute goes on after a restart
    assert reasons(again, 3, start=20).count("") == 1


def test_tokens_per_minute(bench):
    script, rater = bench(lambda *_: chat(tokens=(900, 100)), tokens_per_minute=9000, give_up_s=1.0, max_tokens=100)
    assert reasons(rater, 12).count("") == len(script.requests) <= 9


# -- outages


@pytest.mark.slow
def test_the_breaker_opens_training_goes_on_and_it_comes_back(bench):
    down = threading.Event()
    down.set()
    script, rater = bench(
        lambda *_: (503, "", b"") if down.is_set() else chat(),
        max_retries=0, breaker_failures=4, breaker_pause_s=2.0, when_down="no_rating", concurrency=1,
    )  # fmt: skip
    rated = rater.label_batch(batch(10))
    assert [r.reason for r in rated.labels] == ["http_503"] * 4 + ["endpoint_down"] * 6
    assert len(script.requests) == 4 and rated.requested == 0  # nothing of it counts as asked
    assert rater.stats()["breaker_open"] == 1.0 and rater.texts()["breaker"] == "open"
    assert rater.stats()["breaker_opened"] == 1 and "503" in rater.texts()["endpoint_error"]
    down.clear()
    deadline = time.monotonic() + 10
    while rater.texts()["breaker"] != "half_open" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reasons(rater, 10) == [""] * 10
    assert rater.stats()["breaker_open"] == 0.0 and rater.stats()["spent_queries"] == 10


def test_ratings_wait_for_an_endpoint_that_comes_back(bench):
    script, rater = bench(
        lambda _, n: (500, "", b"") if n < 6 else chat(),
        max_retries=20, breaker_failures=3, breaker_pause_s=0.05, when_down="wait", concurrency=4,
    )  # fmt: skip
    assert reasons(rater, 8) == [""] * 8
    assert rater.stats()["breaker_opened"] == 1


def test_nobody_waits_for_ever(bench):
    """However many ratings wait, an outage takes give_up_s once, not once for each of them."""
    script, rater = bench(
        lambda *_: (500, "", b""),
        max_retries=50, breaker_failures=3, breaker_pause_s=0.2, when_down="wait", give_up_s=1.0, concurrency=2,
    )  # fmt: skip
    start = time.monotonic()
    assert set(reasons(rater, 40)) <= {"endpoint_down", "http_500"}
    assert time.monotonic() - start < 15.0 and len(script.requests) < 30


# -- budgets


def test_tokens_are_never_overspent_by_many_at_once(bench):
    bill = []

    def reply(request, n):
        bill.append(300)
        return chat(tokens=(280, 20))

    script, rater = bench(reply, max_total_tokens=4000, max_tokens=20, concurrency=16)
    answers = reasons(rater, 40)
    assert 0 < answers.count("") == len(bill) and sum(bill) <= 4000 and answers.count("budget") == 40 - len(bill)
    assert rater.stats()["spent_tokens"] == sum(bill) and rater.stats()["budget_tokens"] == 4000
    rater.close()
    _, again = bench(script, max_total_tokens=4000, max_tokens=20)
    assert again.stats()["spent_tokens"] == sum(bill) and set(reasons(again, 30, start=100)) <= {"", "budget"}
    assert sum(bill) <= 4000


def test_money_is_never_overspent_and_what_may_be_billed_counts(bench):
    def reply(request, n):
        return [chat(tokens=(280, 20)), chat(tokens=None), (200, "", b'{"choices": [{"mess'), b""][n % 4]

    script, rater = bench(reply, max_money=20.0, max_tokens=20, max_retries=0, concurrency=8, breaker_failures=0)
    assert reasons(rater, 60).count("budget") >= 20
    stats = rater.stats()
    assert 15.0 < stats["spent_money"] <= 20.0 and rater.texts()["currency"] == "EUR"
    # an answer without usage, a broken one and a cut one count with all that was reserved for them
    assert stats["spent_money"] > 0.3 * len(script.requests) + 0.2 * len(script.requests)


def test_an_endpoint_that_takes_more_than_was_thought_is_reserved_for(bench):
    script, rater = bench(lambda *_: chat(tokens=(5000, 10)), max_total_tokens=40_000, max_tokens=10, concurrency=1)
    reasons(rater, 20)
    assert 30_000 < rater.stats()["spent_tokens"] <= 40_000
    rater.close()
    _, again = bench(script, max_total_tokens=40_000, max_tokens=10)  # it remembers
    assert reasons(again, 1, start=50) == ["budget"]


def test_a_money_budget_needs_a_price(bench, tmp_path):
    with refused(
        ConfigError,
        parameter="vlm_rater.max_money",
        code=Code.UNKNOWN,
        file=tmp_path / "prices.yaml",
        shows=("'x'", "m, d"),
    ):
        bench(lambda *_: chat(), model="x", max_money=1.0)
    _, rater = bench(lambda *_: chat(), model="x")
    assert reasons(rater, 1) == [""] and rater.texts()["currency"] == "" and rater.stats()["spent_tokens"] == 73
    _, rater = bench(lambda *_: chat(), model="m")
    assert reasons(rater, 1) == [""] and rater.stats()["spent_money"] == pytest.approx(0.073)
    with refused(
        ConfigError,
        parameter="vlm_rater.max_money",
        code=Code.DOES_NOT_FIT,
        file=tmp_path / "l.sqlite",
        shows=("USD", "EUR"),
    ):
        bench(lambda *_: chat(), model="d", max_money=1.0)


# -- answers that never end, lie, or speak another dialect


async def drip(script, writer):
    writer.write(b"HTTP/1.1 200 -\r\nContent-Length: 10000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(script, writer):
    writer.write(b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    while script.sent < 200 << 20:
        writer.write(piece)
        await writer.drain()
        script.sent += len(piece)


async def endless_headers(script, writer):
    writer.write(b"HTTP/1.1 200 -\r\n")
    while True:
        writer.write(b"X-Header: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("how", "reason"), [(drip, "timeout"), (endless_headers, "timeout"), (None, "timeout")])
def test_slow_answers_hit_the_deadline(bench, how, reason):
    script, rater = bench(lambda *_: how or hang, timeout_s=0.5, max_retries=0)
    start = time.monotonic()
    assert reasons(rater, 2) == [reason] * 2
    assert time.monotonic() - start < 20.0 and rater.stats()["spent_queries"] == 2  # it may have been billed


async def hang(script, writer):
    await asyncio.sleep(60)


def test_an_answer_without_end_is_cut_off_while_it_streams(bench):
    script, rater = bench(lambda *_: flood, max_retries=0, timeout_s=20.0)
    tracemalloc.start()
    try:
        assert reasons(rater, 1) == ["too_long"]
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()
    assert script.sent < 20 << 20


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "b\xe4d"}}]}',
        b'{"choices": 3}',
        b'{"choices": [{"message": "Good"}]}',
        b"[]",
        b"null",
        b"<html>Good</html>",
        b"[" * 100_000,
        b'{"error": {"message": "Good"}}',
        "{}".encode("utf-16"),
    ],
)
def test_what_is_no_completion_is_no_rating(bench, body):
    script, rater = bench(lambda *_: (200, "", body), max_retries=1)
    assert reasons(rater, 1) == ["bad_body"] and len(script.requests) == 2


def test_odd_but_complete_answers_are_kept(bench):
    odd = [
        chat(json.loads('"Good\\n\\ud83d \\u0000"')),  # half a character: no file can hold it
        chat("Good", usage={"prompt_tokens": 10**40, "completion_tokens": -3}),
        chat("Good", usage="many"),
        chat([{"type": "text", "text": "Go"}, {"type": "text", "text": "od"}]),
    ]
    script, rater = bench(lambda _, n: odd[n], concurrency=1)
    assert [r.value for r in rater.label_batch(batch(4)).labels] == [-1, 2, 2, 2]
    assert len(script.requests) == 4


def test_thinking_that_is_only_in_the_total_is_paid_too(bench):
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 405}
    _, rater = bench(lambda *_: chat(usage=usage))
    rater.label_batch(batch(1))
    assert rater.stats()["spent_tokens"] == 405


def no_schema(request, n):
    return (400, "", b'{"error": "response_format?"}') if "response_format" in request else chat()


def test_structured_output_is_found_out_once_and_remembered(bench):
    script, rater = bench(no_schema, concurrency=1)
    assert reasons(rater, 3) == [""] * 3 and len(script.requests) == 4
    rater.close()
    script, again = bench(script, concurrency=1)
    assert reasons(again, 3, start=10) == [""] * 3 and len(script.requests) == 7
    assert again.stats()["structured_output"] == 0.0
    _, always = bench(script, structured_output="on")
    assert reasons(always, 1, start=20) == ["http_400"]
    other, rater = bench(lambda *_: chat('{"rating": "Bad"}'), structured_output="off")
    assert reasons(rater, 1, start=30) == [""] and "response_format" not in other.requests[0]


def test_a_request_that_is_rejected_for_something_else_says_nothing_about_schemas(bench):
    """An image that the endpoint does not take must not turn structured output off for good."""
    script, rater = bench(lambda _, n: (400, "", b'{"error": "bad image"}') if n < 2 else chat(), concurrency=1)
    assert reasons(rater, 2) == ["http_400", ""]
    assert "response_format" in script.requests[2] and rater.stats()["structured_output"] == 1.0
    assert "bad image" in rater.texts()["endpoint_error"]


def test_the_new_name_of_the_token_limit(bench):
    def reply(request, n):
        if "max_tokens" in request:
            return 400, "", b'{"error": {"message": "Use \'max_completion_tokens\' instead."}}'
        return chat()

    script, rater = bench(reply, max_tokens=77, concurrency=1)
    assert reasons(rater, 2) == ["", ""] and len(script.requests) == 3
    assert script.requests[-1]["max_completion_tokens"] == 77
    rater.close()
    script, again = bench(script, max_tokens=77)
    assert reasons(again, 1, start=9) == [""] and len(script.requests) == 4


def test_what_some_models_do_not_take_is_not_sent(bench):
    script, rater = bench(lambda *_: chat(), temperature=-1.0, reasoning_effort="low")
    rater.label_batch(batch(1))
    assert "temperature" not in script.requests[0] and script.requests[0]["reasoning_effort"] == "low"
    script, rater = bench(lambda *_: chat())  # another question
    rater.label_batch(batch(1))
    assert script.requests[0]["temperature"] == 0.0 and "reasoning_effort" not in script.requests[0]


def test_the_same_question_has_the_same_idempotency_key(bench):
    script, rater = bench(lambda _, n: (500, "", b"") if n == 0 else chat(), two_stage=True, concurrency=1)
    rater.label_batch(batch(2))
    keys = [re.search(r"idempotency-key: (\S+)", head, re.I).group(1) for head in script.headers]
    assert keys[0] == keys[1] and len(set(keys)) == 4


def test_a_key_that_the_endpoint_repeats_is_taken_out(bench, monkeypatch, caplog):
    secret = "sk-echo-9876543210"
    monkeypatch.setenv("MY_KEY", f" {secret}\n")  # as it comes from a file
    caplog.set_level(0)
    replies = [
        (401, "", f"wrong key {secret}".encode()), chat(f"Good {secret}"), chat(model=secret),
        (200, "", f'{{"x": "{secret}'.encode()), (200, f"Content-Encoding: gzip\r\nX-K: {secret}\r\n", b"xx"),
    ]  # fmt: skip
    script, rater = bench(lambda _, n: replies[n % 5], api_key_env="MY_KEY", max_retries=0, concurrency=1)
    assert re.search(rf"authorization: Bearer {secret}\r", script.headers[0] if script.headers else "", re.I) is None
    rated = rater.label_batch(batch(5))
    assert f"Bearer {secret}\r" in script.headers[0]
    shown = repr(rated) + repr(rater.stats()) + repr(rater.texts()) + caplog.text + repr(vars(rater._client))
    rater.close()
    bench.ledger.close()
    files = b"".join(path.read_bytes() for path in bench.folder.iterdir())
    assert secret not in shown and secret.encode() not in files


def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(bench, monkeypatch):
    for bad in ("sk-1\nX: y", "sk 1", "sk-\xe4", "sk\x7f"):
        monkeypatch.setenv("MY_KEY", bad)
        with refused(ConfigError, parameter="vlm_rater.api_key_env", shows="MY_KEY") as caught:
            bench(lambda *_: chat(), api_key_env="MY_KEY")
        assert bad not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.parametrize("key", ["sk-proj-0123456789", "AIzaSyA0123456789", "gsk_0123456789"])
def test_a_key_in_place_of_its_variables_name_is_not_shown(key):
    with refused(ConfigError, parameter="vlm_rater.api_key_env", code=Code.SECRET) as caught:
        RaterConfig(api_key_env=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"max_money": float("nan")},
        {"max_money": -1.0},
        {"requests_per_minute": -1},
        {"tokens_per_minute": 10**10},
        {"give_up_s": 0.0},
        {"breaker_failures": -1},
        {"breaker_pause_s": float("inf")},
        {"when_down": "panic"},
        {"structured_output": "maybe"},
        {"reasoning_effort": "huge"},
    ],
)
def test_wrong_limits_are_refused_by_name(options):
    with refused(ConfigError, parameter=f"vlm_rater.{next(iter(options))}"):
        RaterConfig(**options)


def test_a_proxy_is_not_asked_for_this_machine(bench, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    _, rater = bench(lambda *_: chat())
    assert reasons(rater, 1) == [""]


@pytest.mark.slow
def test_figures_can_be_read_while_ratings_come(bench):
    script, rater = bench(lambda _, n: (400 + n % 90, "", b"") if n % 2 else chat(), max_retries=0, concurrency=16)
    done = rater.submit(batch(300))
    while not done.done():
        rater.stats(), rater.texts()
    assert rater.stats()["requested"] == 300
