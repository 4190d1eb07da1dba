# SPDX-License-Identifier: Apache-2.0
"""The stand-in's ratings from words: ladders, error rates, view clusters, prompts it understands."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.vlm.modalities import in_words
from erl_vlm_ros.feedback.vlm.parsing import parse_rating, rating_schema
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.standin import words as words
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig, BadRequest


@cache
def prompts_of(task, n):
    return load_prompts(load_task(task), n), load_task(task).class_names(n)


def ask(answerer, text, n, task="drawer_open", structured=True):
    prompts, names = prompts_of(task, n)
    request = {"messages": [{"role": "user", "content": prompts.rating(1, text)}]}
    if structured:
        request["response_format"] = rating_schema(names)
    answer = answerer.answer(request)
    assert structured == answer.startswith("{")
    return parse_rating(answer, names)


def rated_by(answerer, views, n):
    return np.array([ask(answerer, view, n) for view in views])


def drawer(opening, tool=(0.4, 0.0, 0.2), away=0.2):
    return words.describe_drawer(opening, (0.45, 0.0, 0.1), tool, away)


def random_views(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        tool = rng.uniform([0.3, -0.15, 0.05], [0.6, 0.15, 0.3])
        yield drawer(rng.uniform(0, 0.2), tool, rng.uniform(0, 0.3))


def test_the_drawers_ladder():
    limits = words.scene.DRAWER.limits
    answerer = Answerer(AnswererConfig())
    views = [
        drawer(0.0, away=limits.near + 0.01),
        drawer(0.0, away=limits.near - 0.01),
        drawer(limits.crack + 0.001),
        drawer(limits.half + 0.001),
        drawer(limits.done + 0.001),
    ]
    for n in (2, 3, 4, 5):
        assert [ask(answerer, view, n) for view in views] == list(words.MERGE[n])
        assert [ask(answerer, view, n, structured=False) for view in views] == list(words.MERGE[n])


def test_the_other_ladders():
    sweep = words.scene.SWEEP.limits
    views = [
        words.describe_sweep((0.4, 0, 0.04), zone, (0.3, 0, 0.1), away)
        for zone, away in (
            (sweep.approached + 0.01, sweep.near + 0.01),
            (sweep.approached + 0.01, sweep.near - 0.01),
            (sweep.approached - 0.01, 0.2),
            (sweep.edge - 0.01, 0.2),
            (sweep.done - 0.01, 0.2),
        )
    ]
    answerer = Answerer(AnswererConfig())
    assert [ask(answerer, view, 5, "sweep_into") for view in views] == [0, 1, 2, 3, 4]
    phrases = (
        "stands on the table", "stands on the table between the fingers", "is off the table, between the fingers",
        "is over the plate, between the fingers", "rests on the plate and the gripper has let it go",
    )  # fmt: skip
    views = [words.describe_pick((0.4, 0, 0.04), phrase, (0.4, 0, 0.1), 0.045) for phrase in phrases]
    assert [ask(answerer, view, 5, "pick_place") for view in views] == [0, 1, 2, 3, 4]


def test_what_is_not_visible_is_rated_from_what_is():
    answerer = Answerer(AnswererConfig())
    assert ask(answerer, words.describe_drawer(None, None, (0.4, 0, 0.1), None), 5) == 0
    assert ask(answerer, words.describe_drawer(0.1, (0.4, 0, 0.1), None, None), 5) == 3
    assert ask(answerer, words.describe_sweep(None, None, None, None), 5, "sweep_into") == 0


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5])
def test_independent_errors_have_their_rate_and_every_other_class(n):
    views = list(random_views(1500))
    truth = rated_by(Answerer(AnswererConfig()), views, n)
    noisy = Answerer(AnswererConfig(error_rate=0.2, seed=4))
    rated = np.array([ask(noisy, v, n) for v in views])
    wrong = rated != truth
    assert abs(wrong.mean() - 0.2) < 0.035  # 3.4 standard errors
    offsets = np.bincount((rated - truth)[wrong] % n, minlength=n)[1:]
    assert offsets.min() > 0.6 * wrong.sum() / (n - 1)
    # the same question gets the same answer in any order; another seed errs elsewhere
    assert [ask(noisy, v, n) for v in reversed(views[:50])] == list(reversed(rated[:50]))
    other = rated_by(Answerer(AnswererConfig(error_rate=0.2, seed=5)), views, n)
    both = (wrong & (other != truth)).mean()
    assert both < 0.08


def test_another_wording_gets_an_error_of_its_own():
    answerer = Answerer(AnswererConfig(error_rate=0.5, seed=1))
    views = list(random_views(300))
    plain = np.array([ask(answerer, v, 5) for v in views])
    worded = np.array([ask(answerer, "Looking closer: " + v, 5) for v in views])
    assert 0.35 < (plain != worded).mean() < 0.9


@pytest.mark.slow
def test_systematic_errors_belong_to_kinds_of_view():
    views = list(random_views(4000))
    truth = rated_by(Answerer(AnswererConfig()), views, 5)
    answerer = Answerer(AnswererConfig(systematic_rate=0.2, seed=2))
    wrong = np.array([ask(answerer, v, 5) for v in views]) != truth
    cells: dict[str, list[bool]] = {}
    for view, bad in zip(views, wrong):
        cells.setdefault(words.cell("drawer_open", view, 8.0), []).append(bool(bad))
    assert len(cells) > 200
    assert all(len(set(bad)) == 1 for bad in cells.values())  # always or never
    share = np.mean([bad[0] for bad in cells.values()])
    assert abs(share - 0.2) < 0.06
    # and in the same direction within a cell
    rated = {v: ask(answerer, v, 5) for v in views[:200]}
    assert rated == {v: ask(answerer, v, 5) for v in views[:200]}


def test_cells_are_eight_centimetres_wide():
    near = [drawer(0.01, (0.405, 0.01, 0.165)), drawer(0.02, (0.41, 0.03, 0.17)), drawer(0.01, (0.49, 0.01, 0.165))]
    cells = [words.cell("drawer_open", text, 8.0) for text in near]
    assert cells[0] == cells[1] != cells[2]


def test_the_task_is_read_from_the_prompt():
    for name in ("drawer_open", "sweep_into", "pick_place"):
        task = load_task(name)
        prompts = load_prompts(task, 5)
        for text in (prompts.analysis(1), prompts.rating(1, "nothing"), prompts.one_stage(1)):
            assert words.task_of(text) == name
    assert words.task_of("tell me a joke") is None


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "user", "content": "tell me a joke"}]},
        {"messages": [{"role": "user", "content": "open the drawer"}]},
        {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.jpg"}}]}]},
    ],
)
def test_requests_without_sense_are_refused(request_):
    with pytest.raises(BadRequest):
        Answerer(AnswererConfig()).answer(request_)


@pytest.mark.parametrize(
    "options", [{"error_rate": 1.5}, {"systematic_rate": -0.1}, {"task": "juggle"}, {"sharing": 1.1}, {"errors": "up"}]
)
def test_wrong_options_are_refused_by_name(options):
    with refused(ConfigError, parameter=next(iter(options))):
        AnswererConfig(**options)


def test_plain_text_classes_are_found_in_the_shipped_prompts():
    names = load_task("sweep_into").class_names(4)
    content = load_prompts(load_task("sweep_into"), 4).rating(1, words.describe_sweep(None, None, None, None))
    assert Answerer(AnswererConfig()).answer({"messages": [{"role": "user", "content": content}]}) == names[0]
    json.dumps(names)


@pytest.mark.slow
def test_a_variation_shares_a_part_of_the_systematic_errors():
    views = list(random_views(2500))
    truth = rated_by(Answerer(AnswererConfig()), views, 5)
    task, names = load_task("drawer_open"), prompts_of("drawer_open", 5)[1]
    sets = {name: load_prompts(task, 5, name) for name in ("default", "reworded", "mirrored", "detail")}
    kinds = np.array([words.cell("drawer_open", v, 8.0) for v in views])
    for sharing in (0.0, 1.0):
        answerer = Answerer(AnswererConfig(systematic_rate=0.3, seed=6, sharing=sharing))
        rated = {}
        for name, prompts in sets.items():
            content = [{"messages": [{"role": "user", "content": prompts.rating(1, v)}]} for v in views]
            rated[name] = np.array([names.index(answerer.answer(c)) for c in content])
            wrong = {k: (rated[name] != truth)[kinds == k] for k in np.unique(kinds)}
            assert all(len(set(w)) == 1 for w in wrong.values())  # a view cluster is misjudged always or never
        again = [rated[name] for name in sets if name != "default"]
        if sharing == 1.0:
            assert all((r == rated["default"]).all() for r in again)
        else:
            both = [np.mean((r != truth) & (rated["default"] != truth)) for r in again]
            assert max(both) < 0.16  # 0.09 when they are independent, 0.3 when they are common


def test_a_temperature_draws_the_independent_errors_anew():
    view, n = drawer(0.1), 5
    prompts, names = prompts_of("drawer_open", n)
    request = {"messages": [{"role": "user", "content": prompts.rating(1, view)}]}
    answerer = Answerer(AnswererConfig(error_rate=0.3, seed=1))
    assert len({answerer.answer(request) for _ in range(20)}) == 1
    answers = [answerer.answer(request | {"temperature": 0.7}) for _ in range(300)]
    wrong = np.mean([a != names[3] for a in answers])
    assert 0.2 < wrong < 0.4


def test_another_model_errs_elsewhere():
    views = list(random_views(600))
    truth = rated_by(Answerer(AnswererConfig()), views, 5)
    prompts, names = prompts_of("drawer_open", 5)
    answerer = Answerer(AnswererConfig(systematic_rate=0.3, seed=2, sharing=0.0))
    wrong = []
    for model in ("stand-in", "another"):
        requests = [{"model": model, "messages": [{"role": "user", "content": prompts.rating(1, v)}]} for v in views]
        wrong.append(np.array([names.index(answerer.answer(r)) for r in requests]) != truth)
    assert (wrong[0] & wrong[1]).mean() < 0.5 * wrong[0].mean()


def test_a_noise_model_takes_the_place_of_the_rates():
    from erl_vlm_ros.feedback.noise_model import NoiseModel

    becomes = np.roll(np.eye(3), 1, axis=1)
    answerer = Answerer(AnswererConfig(error_rate=0.9, noise_model=NoiseModel(np.eye(3), 1.0, becomes)))
    assert [ask(answerer, drawer(x), 3) for x in (0.0, 0.1, 0.19)] == [1, 2, 0]
    with refused(BadRequest, field="n_classes"):
        ask(answerer, drawer(0.0), 5)


def test_what_the_gripper_hides_a_force_tells():
    limits = words.scene.DRAWER.limits
    crack, closed = limits.crack + 0.001, 0.0
    near = limits.near - 0.01

    def told(*forces):
        extras, empty = np.array(forces)[:, None], np.zeros((len(forces), 0))
        segment = Segment("e0_t0_h1", [b""] * len(forces), empty, empty, np.zeros(len(forces)), extras, ("wrench_fx",))
        return in_words(segment, ["wrench", "gripper"])

    def rungs(opening, away, prompt=""):
        return words.rung("drawer_open", words.hidden("drawer_open", drawer(opening, away=away), prompt))

    assert (rungs(crack, near), rungs(closed, near)) == (1, 1)
    assert rungs(crack, near, told(-20.0)) == 2 and rungs(closed, near, told(20.0)) == 1
    assert rungs(closed, near, told(0.0, -20.0)) == 2  # of several images, the last
    assert rungs(crack, limits.near + 0.05) == 2  # seen from aside
    assert rungs(limits.half + 0.001, near) == 3 and rungs(limits.done + 0.001, near) == 4
    other = words.describe_sweep((0.5, 0.0, 0.04), 0.1, (0.4, 0.0, 0.1), 0.1)
    assert words.hidden("sweep_into", other, told(-20.0)) == other
