# SPDX-License-Identifier: Apache-2.0
"""The dashboard: what it says in each state, and that nothing runs over its panel."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.monitoring import charts, draw, panels
from erl_vlm_ros.monitoring.dashboard import HEIGHT, WIDTH, render
from erl_vlm_ros.monitoring.health import ERROR, OK, STALE, WARN, Alarm, NodeHealth
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.screen import CALM, LOUD, NOTE, Guard, Matter, Screen, headline, safety_words

NAMES = ["Very Bad", "Bad", "Average", "Good", "Very Good"]
NODES = ("safety_guard", "learner")
LONG = "a very long text that no panel of this width can ever hold in one line " * 3


def progress(**values):
    return RunRecord("t", 0, {5: NAMES}, 1000, 100, 0.0).progress(1.0) | {"state": "running", **values}


def screen(level=OK, **values):
    health = {node: NodeHealth(level, "silent for 9 s" if level == STALE else "running", 9.0) for node in NODES}
    base = {"title": "open the drawer", "subtitle": "drawer_open", "health": health, "guard": Guard(True, False)}
    return Screen(**{**base, "progress": progress(), **values})


def red_share(image):
    return float((image == draw.RED).all(-1).mean())


def test_what_is_said_of_the_arm():
    assert safety_words(screen()) == ("ARMED", CALM)
    assert safety_words(screen(guard=Guard(False, False))) == ("DISARMED", NOTE)
    assert safety_words(screen(guard=Guard())) == ("NOT HEARD", NOTE)
    assert safety_words(screen(guard=Guard(False, True))) == ("E-STOP", LOUD)
    silent = screen(STALE, guard=Guard(True, False))  # its last word is worth nothing
    assert safety_words(silent) == ("GUARD SILENT", LOUD)


@pytest.mark.parametrize(
    ("shown", "matter", "words", "loud"),
    [
        (screen(), Matter.PROGRESS, "episode 1", CALM),
        (screen(phase="exploring"), Matter.PROGRESS, "exploring", CALM),
        (screen(progress=progress(state="evaluating")), Matter.PROGRESS, "", CALM),
        (screen(progress=progress(detail="the learner")), Matter.PROGRESS, "the learner", CALM),
        (screen(guard=Guard(False, True, "button")), Matter.ESTOP, ": button.", LOUD),
        (screen(guard=Guard(False, True, "e-stop: button")), Matter.ESTOP, ": button.", LOUD),
        (screen(guard=Guard(False, False), awaits=Awaited.GUARD), Matter.TO_BE_ARMED, "safety_guard/arm", NOTE),
        (screen(guard=Guard(False, False)), Matter.PROGRESS, "episode 1", CALM),
        (screen(STALE), Matter.GUARD_LOST, "silent for 9 s", LOUD),
        (screen(health={"vlm_rater": NodeHealth(STALE, "silent for 7 s", 7.0)}), Matter.NODE_LOST, "vlm_rater", LOUD),
        (screen(progress=progress(state="failed", detail="no reset")), Matter.FAILED, "no reset", LOUD),
        (screen(progress=progress(detail="a person to put the scene back"), awaits=Awaited.PERSON),
         Matter.PERSON, ": put the scene back", NOTE),
        (screen(progress=progress(detail="a person's verdict: call X"), awaits=Awaited.PERSON),
         Matter.PERSON, ": verdict: call X", NOTE),
        (screen(driving=True), Matter.DRIVEN, "", NOTE),
    ],
)  # fmt: skip
def test_the_headline_says_what_matters_most(shown, matter, words, loud):
    said = headline(shown)
    assert (said.matter, said.loudness) == (matter, loud) and words in said.text


def test_an_emergency_stop_is_big_and_red_and_nothing_else_is():
    calm, stopped = render(screen()), render(screen(guard=Guard(False, True, "service call")))
    assert calm.shape == stopped.shape == (HEIGHT, WIDTH, 3) and calm.dtype == np.uint8
    assert red_share(calm) == 0.0 and red_share(stopped) > 0.05
    assert (stopped[[0, -1]] == draw.RED).all() and (stopped[:, [0, -1]] == draw.RED).all()


def test_images_of_any_shape_keep_their_shape():
    for height, width in ((128, 128), (480, 640), (720, 1280), (90, 30)):
        canvas = np.zeros((300, 400, 3), np.uint8)
        draw.fit_image(canvas, np.full((height, width, 3), 200, np.uint8), (0, 0, 400, 300))
        rows, columns = np.flatnonzero(canvas.any((1, 2))), np.flatnonzero(canvas.any((0, 2)))
        assert len(columns) / len(rows) == pytest.approx(width / height, rel=0.03)
        assert len(columns) == 400 or len(rows) == 300


EXTREME = screen(
    title=LONG,
    progress=progress(
        env_steps=10**9, max_steps=10**9, ratings_valid=10**7, ratings_requested=2 * 10**7, max_ratings=10**7,
        rating_mix=[10**6] * 5, rating_accuracy=1.0, left_s=10**7, detail=LONG, steps_per_s=12345.6,
    ),
    class_names=[LONG] * 5,
    camera=np.full((50, 70, 3), 9, np.uint8),
    camera_note=LONG,
    reward=1.0,
    rewards=np.linspace(-1, 2, 700),
    reward_note=LONG,
    last_rating="Very Good",
    health={f"a_node_with_a_long_name_{i}": NodeHealth(i % 4, LONG, 1e6) for i in range(30)},
    alarms=[Alarm(LONG, 1 + i % 2, LONG, 0.0, 0.0) for i in range(20)],
    spend={
        "spent_queries": 1e9, "budget_queries": 1e9, "spent_tokens": 1e12, "spent_money": 1e6, "budget_money": 1e6,
        "valid": 1e9, "no_rating": 1e9, "latency_s": 1e4, "in_flight": 1e6, "breaker_open": 1.0,
        "rerate_answered": 1e6, "rerate_disagreed": 9e5,
    },
    teacher={"teacher": "vlm", "model": LONG, "currency": "EUR"},
    reward_health={"held_out_accuracy": 1.0, "fresh_agreement": 1.0, "reward_drift": 1e6},
)  # fmt: skip


@pytest.mark.parametrize("shown", [EXTREME, screen(health={}), replace(EXTREME, teacher={"teacher": "scripted"})])
@pytest.mark.parametrize(
    ("part", "box"),
    [
        (panels.camera, (12, 108, 456, 366)), (panels.reward, (12, 482, 456, 106)),
        (panels.nodes, (12, 596, 456, 116)), (panels.budget, (880, 108, 388, 116)),
        (panels.teacher, (880, 232, 388, 236)), (panels.alarms, (880, 476, 388, 236)),
    ],
)  # fmt: skip
def test_nothing_runs_over_its_panel(part, box, shown):
    canvas = np.full((HEIGHT, WIDTH, 3), 77, np.uint8)
    part(canvas, box, shown)
    x, y, width, height = box
    assert (canvas[y : y + height, x : x + width] != 77).any(-1).mean() > 0.9
    canvas[y : y + height, x : x + width] = 77
    assert (canvas == 77).all()


@pytest.mark.parametrize("returns", [[], [(5, 1.0)], [(i, float(i % 7) - 3) for i in range(5000)]])
def test_charts_stay_in_their_panels(returns):
    box = (100, 100, 396, 196)
    mix = [(i * 100, [i % 5, 1, 2, 3, 4]) for i in range(50)]
    half = [(steps, 0.5) for steps, _ in returns]
    for chart in (
        lambda c: charts.return_chart(c, box, 5000, returns),
        lambda c: charts.success_chart(c, box, 5000, half, [(s, 1.0) for s, _ in half], "x"),
        lambda c: charts.mix_chart(c, box, 5000, mix if returns else [], NAMES, [9] * 5 if returns else []),
    ):
        canvas = np.full((400, 600, 3), 77, np.uint8)
        chart(canvas)
        canvas[100:296, 100:496] = 77
        assert (canvas == 77).all()


def test_cost_is_shown_even_when_there_is_much_to_say():
    """The budget stands first: of the rest, what has no room is left out."""
    with_cost, without = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    panels.teacher(with_cost, (880, 232, 388, 236), EXTREME)
    spend = {k: v for k, v in EXTREME.spend.items() if "money" not in k}
    panels.teacher(without, (880, 232, 388, 236), replace(EXTREME, spend=spend))
    assert (with_cost != without).any()


# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_neighbouring_colours_differ_for_the_colour_blind(kind):
    def seen(colour):
        linear = (np.array(colour) / 255) ** 2.2
        return 255 * np.clip(np.array(BLINDNESS[kind]) @ linear, 0, 1) ** (1 / 2.2)

    pairs = [*zip(draw.RATINGS, draw.RATINGS[1:]), (draw.GREEN, draw.ORANGE), (draw.GREEN, draw.FAINT)]
    pairs += [(draw.BLUE, draw.ORANGE), (draw.RED, draw.PANEL), (draw.GREEN, draw.PANEL)]
    for a, b in pairs:
        assert np.linalg.norm(seen(a) - seen(b)) > 40, (a, b)


def test_text_is_cut_and_wrapped_to_its_width():
    assert draw.fit("short", 200, 13) == "short"
    cut = draw.fit(LONG, 200, 13)
    assert cut.endswith("…") and draw.width_of(cut, 13) <= 200
    lines = draw.wrap(LONG, 200, 13, 2)
    assert len(lines) == 2 and all(draw.width_of(line, 13) <= 200 for line in lines)
    assert LONG.startswith(lines[0] + " ") and lines[1].endswith("…")
    assert draw.wrap("one two", 200, 13, 2) == ("one two",)
    assert charts.short(1500) == "1.5k" and charts.short(2.5e6) == "2.5M"


def test_reward_colours_run_through_those_of_the_classes():
    for value, index in ((0.0, 0), (0.5, 2), (1.0, -1), (7.0, -1)):
        colour = draw.RATINGS[index]
        assert draw.reward_colour(value) == colour


def test_alarms_and_marks_are_drawn_for_every_level():
    for level in (OK, WARN, ERROR, STALE):
        canvas = np.zeros((40, 40, 3), np.uint8)
        draw.symbol(canvas, (20, 20), level)
        assert 20 < canvas.any(-1).sum() < 300


def test_drawing_is_cheap():
    full = replace(EXTREME, health=screen().health)
    render(full)  # fonts
    began = time.process_time()
    for _ in range(5):
        render(full)
    assert (time.process_time() - began) / 5 < 0.15  # about 0.02 s on a quiet machine, once a second
