# SPDX-License-Identifier: Apache-2.0
"""Pauses, rate limits, circuit breaker, budgets and prices, without a network."""

from __future__ import annotations

import math
import random
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.limits.breaker import CircuitBreaker
from erl_vlm_ros.feedback.limits.budget import Budget, Spending
from erl_vlm_ros.feedback.limits.costs import Costs
from erl_vlm_ros.feedback.limits.pacing import Pacer, pause_s, retry_after_s
from erl_vlm_ros.feedback.limits.prices import Price, load_prices
from erl_vlm_ros.feedback.teacher_status import teacher_status
from erl_vlm_ros.feedback.vlm.answer import Answer

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=timezone.utc)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_pauses_double_with_jitter_up_to_a_limit():
    rng = random.Random(0)
    for attempt, full in ((1, 0.5), (2, 1.0), (5, 8.0), (8, 30.0), (5000, 30.0)):
        pauses = [pause_s(attempt, 0.5, 30.0, rng) for _ in range(200)]
        assert full / 2 <= min(pauses) < max(pauses) <= full and len(set(pauses)) > 100


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.2"}, 0.2),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0.0),
        # the endpoint's clock is an hour ahead: its own date counts
        (
            {
                "retry-after": format_datetime(NOW + timedelta(hours=1, seconds=5), usegmt=True),
                "date": format_datetime(NOW + timedelta(hours=1), usegmt=True),
            },
            5.0,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(headers, seconds):
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize("limits", [(7, 0), (0, 1000), (20, 900), (1, 100)])
def test_no_minute_holds_more_than_its_limit(limits):
    """Whatever the traffic, any 60 s of what was let through stay within both limits."""
    rng, clock = random.Random(1), Clock()
    pacer = Pacer(*limits, clock=clock)
    sent = []
    while len(sent) < 200:
        tokens = rng.randint(1, 100)
        wait = pacer.wait_s(tokens)
        if wait > 0:
            assert wait <= 60.0
            clock.now += wait if rng.random() < 0.5 else 0.3
            continue
        pacer.take(tokens)
        sent.append((clock.now, tokens))
        clock.now += rng.choice([0.0, 0.0, 0.1, 3.0])
    for start, _ in sent:
        window = [t for at, t in sent if start <= at < start + 60.0 - 1e-6]
        assert not limits[0] or len(window) <= limits[0]
        assert not limits[1] or sum(window) <= limits[1]


def test_room_that_was_not_needed_comes_back():
    clock = Clock()
    pacer = Pacer(0, 1000, clock)
    slot = pacer.take(900)
    assert pacer.wait_s(500) == pytest.approx(60.0)
    pacer.settle(slot, 100)
    assert pacer.wait_s(500) == 0.0
    assert pacer.wait_s(5000) > 0.0  # larger than the limit: alone, when the window is empty
    clock.now += 61.0
    assert pacer.wait_s(5000) == 0.0
    pacer.settle(slot, 900)  # late: it is not in the window any more
    assert pacer.wait_s(1000) == 0.0


def test_a_hold_stops_everyone_for_its_time():
    clock = Clock()
    pacer = Pacer(clock=clock)
    pacer.hold(5.0), pacer.hold(2.0)
    assert pacer.wait_s(1) == 5.0
    clock.now += 5.0
    assert pacer.wait_s(1) == 0.0


def test_requests_before_a_restart_count():
    pacer = Pacer(2, 0, Clock())
    pacer.take(10, age_s=50.0), pacer.take(10, age_s=20.0)
    assert pacer.wait_s(1) == pytest.approx(10.0)


def test_the_breaker_opens_probes_and_closes():
    clock = Clock()
    breaker = CircuitBreaker(3, 5.0, 12.0, clock)
    for _ in range(2):
        breaker.failure(breaker.enter())
    breaker.success()  # not in a row
    for _ in range(3):
        assert breaker.state == "closed" and breaker.wait_s() == 0.0
        breaker.failure(breaker.enter())
    assert (breaker.state, breaker.wait_s(), breaker.opened, breaker.down_since) == ("open", 5.0, 1, clock.now)
    breaker.failure(False)  # sent before it opened: nothing new
    assert breaker.wait_s() == 5.0
    for pause in (10.0, 12.0, 12.0):  # doubles, up to the longest
        clock.now += breaker.wait_s()
        assert breaker.state == "half_open" and breaker.wait_s() == 0.0
        assert breaker.enter() is True
        assert breaker.wait_s() == math.inf  # one probe at a time
        breaker.failure(True)
        assert (breaker.state, breaker.wait_s()) == ("open", pause)
    clock.now += breaker.wait_s()
    assert breaker.enter()
    breaker.withdraw(True)  # cut off here: another may probe
    assert breaker.wait_s() == 0.0 and breaker.enter()
    breaker.success()
    assert (breaker.state, breaker.wait_s(), breaker.opened, breaker.down_since) == ("closed", 0.0, 1, math.inf)
    assert breaker.enter() is False


def test_a_breaker_of_zero_never_opens():
    breaker = CircuitBreaker(0, 5.0)
    for _ in range(1000):
        breaker.failure(breaker.enter())
    assert breaker.state == "closed"


def test_many_threads_never_reserve_more_than_there_is():
    """Every request takes less than reserved, at random; at no moment may spent exceed a limit."""
    spending = Spending()
    budgets = [Budget(spending, 10_000, 50_000, 1.0, "USD") for _ in range(3)]  # raters that share a ledger
    over = []

    def work(seed):
        rng, budget = random.Random(seed), budgets[seed % 3]
        for _ in range(400):
            reserve = (rng.randint(1, 2000), rng.random() * 0.03)
            if budget.reserve(reserve):
                spent = (rng.randint(0, reserve[0]), reserve[1] * rng.random())
                budget.settle(reserve, spent)
            if spending.tokens > 50_000 or spending.money.get("USD", 0.0) > 1.0:
                over.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not over and spending.reserved_tokens == 0 and not budgets[0].pending
    assert 45_000 < spending.tokens <= 50_000 or 0.9 < spending.money["USD"] <= 1.0


def test_queries_are_reserved_too():
    budget = Budget(Spending(queries=3), 5)
    assert budget.reserve_query() and budget.reserve_query() and not budget.reserve_query()
    budget.end_query(False)
    assert budget.queries_left == 1
    budget.end_query(True)
    assert budget.queries_left == 1 and budget.spending.queries == 4
    assert budget.reserve((10**9, 1e9))  # tokens and money are not limited


def request(text, images=0, max_tokens=100):
    content = [{"type": "image_url", "image_url": {"url": "data:"}}] * images + [{"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}


def test_reserves_are_upper_bounds_and_learn():
    price = Price("USD", 1.0, 10.0, 1.0, 800, "2026-11-20", "x")
    costs = Costs(price)
    tokens, money = costs.reserve(request("ä" * 50, 2), 2)
    assert tokens >= 100 + 2 * 800 + 100 and money == pytest.approx(((tokens - 100) * 1.0 + 100 * 10.0) / 1e6)
    used, answer = costs.settle(Answer("x", tokens_in=1000, tokens_out=50), 2, tokens, money)
    assert used == 1050 and answer.cost == pytest.approx(0.0015) and answer.currency == "USD"
    # an endpoint that does not say: the reserve counts
    used, answer = costs.settle(Answer("x"), 2, tokens, money)
    assert (used, answer.cost) == (tokens, money)
    costs.learn(request("x", 1), 1, Answer("x", tokens_in=20_000))  # images cost far more than the table says
    assert costs.reserve(request("x", 1), 1)[0] > 20_000
    assert Costs(None).reserve(request("x", 1), 1)[1] == 0.0 and Costs(None).currency == ""


def test_dearer_images():
    price = Price("EUR", 1.0, 4.0, 3.0, 500, "2026-11-20", "x")
    assert price.cost(2000, 100, 2) == pytest.approx((1000 * 3 + 1000 * 1 + 100 * 4) / 1e6)
    assert price.cost(300, 0, 2) == pytest.approx(300 * 3 / 1e6)


def test_the_shipped_prices_are_read():
    prices = load_prices()
    assert prices["gpt-4o-mini"].input == 0.15 and prices["stand-in"].output == 0.0
    for name, price in prices.items():
        assert price.output >= price.input >= 0.0 and len(price.currency) == 3 and price.checked >= "2026", name


GOOD = "models:\n  m:\n    {currency: USD, input: 1, output: 2.5, checked: 2026-11-20, source: list}\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("models:", "modules:", 1, ""),
        ("  m:\n    {", "  m: 3\n  n:\n    {", 2, "models.m"),
        ("input: 1", "input: -1", 3, "models.m.input"),
        ("input: 1", "input: .nan", 3, "models.m.input"),
        ("input: 1", "input: 1 USD", 3, "models.m.input"),
        ("input: 1", "input: true", 3, "models.m.input"),
        ("input: 1", "input: [1]", 3, "models.m.input"),
        ("input: 1", "input: 1, input: 2", 3, "vlm_rater.prices"),  # YAML itself is wrong
        ("input: 1, ", "", 3, "models.m.input"),
        ("input: 1", "input: 1, cached: 1", 3, "models.m.cached"),
        ("USD", "dollars", 3, "models.m.currency"),
        ("2026-11-20", "yesterday", 3, "models.m.checked"),
        ("2026-11-20", "2026-13-40", 3, "vlm_rater.prices"),
        ("source: list", "source: 3", 3, "models.m.source"),
        ("source: list", "source: list, image_tokens: 1.5", 3, "models.m.image_tokens"),
        ("{", "", 3, "vlm_rater.prices"),
    ],
)
def test_a_wrong_price_table_is_refused_with_line_and_field(tmp_path, old, new, line, key):
    file = tmp_path / "my_prices.yaml"
    file.write_text(GOOD)
    assert load_prices(file)["m"] == Price("USD", 1.0, 2.5, 1.0, 0, "2026-11-20", "list")
    file.write_text(GOOD.replace(old, new, 1))
    code = Code.YAML if key == "vlm_rater.prices" else Code.VALUE
    with refused(ConfigError, parameter=key, file=f"{file}:{line}", code=code):
        load_prices(file)


def test_a_price_table_that_is_not_there(tmp_path):
    with refused(ConfigError, parameter="vlm_rater.prices", code=Code.MISSING_FILE, file=tmp_path / "none.yaml"):
        load_prices(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with refused(ConfigError, code=Code.VALUE, file=f"{tmp_path / 'empty.yaml'}:1"):
        load_prices(tmp_path / "empty.yaml")


def test_a_teachers_state_in_a_word():
    fine = {"breaker_open": 0.0, "budget_queries": 100.0, "spent_queries": 94.0, "spent_tokens": 9e9}
    assert teacher_status(fine, {}) == teacher_status({}, {}) == (0, "rating")
    assert teacher_status(fine | {"spent_queries": 95.0}, {}) == (1, "95 of 100 ratings are spent")
    money = fine | {"budget_money": 2.0, "spent_money": 1.995}
    assert teacher_status(money, {"currency": "EUR"}) == (1, "1.995 of 2 EUR are spent")
    level, words = teacher_status(money | {"breaker_open": 0.5}, {"endpoint_error": "HTTP 503: x" + "y" * 500})
    assert level == 1 and "away (HTTP 503: x" in words and "training goes on" in words and len(words) < 250
