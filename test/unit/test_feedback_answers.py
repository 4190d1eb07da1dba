# SPDX-License-Identifier: Apache-2.0
"""Ratings from free text and JSON in five languages: none is invented, whatever stands around a name."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from erl_vlm_ros.feedback.vlm.choice import Choices
from erl_vlm_ros.feedback.vlm.parsing import NoRating, parse_grade, parse_rating, parse_ratings
from erl_vlm_ros.feedback.vlm.prompts import quoted
from erl_vlm_ros.feedback.vlm.thinking import without_thinking

CORPUS = Path(__file__).resolve().parents[1] / "data" / "answers"
LANGUAGES = ("de", "en", "es", "ko", "zh")
FIVE = ["Very Bad", "Bad", "Average", "Good", "Very Good"]
ROWS = [
    json.loads(line)
    for language in LANGUAGES
    for line in (CORPUS / f"{language}.jsonl").read_text("utf-8").splitlines()
]
# free text with punctuation, line ends, tags and the names' own letters, but with no name in it
ANY = st.text(st.sampled_from("aeo好이 .,:;!?\n\t*`\"'{}[]()<>/-_0123456789ÄßñΩ"), max_size=60)
NAME = st.sampled_from(FIVE)


def read(text, names=FIVE):
    try:
        return names[parse_rating(text, names)]
    except NoRating:
        return None


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_rating_is_invented(language):
    rows = [json.loads(line) for line in (CORPUS / f"{language}.jsonl").read_text("utf-8").splitlines()]
    wrong = [(r["text"], got) for r in rows if (got := read(r["text"], r["classes"])) not in (None, r["class"])]
    assert len(rows) >= 40 and wrong == []


def test_the_share_of_right_answers_that_are_read():
    right = [r for r in ROWS if r["class"]]
    lost = [r["text"] for r in right if read(r["text"], r["classes"]) is None]
    print(
        f"{len(ROWS)} answers, {len(right)} with a class, {1 - len(lost) / len(right):.1%} of these read; lost: {lost}"
    )
    assert len(ROWS) >= 200 and len(lost) <= 0.06 * len(right)


@given(ANY, NAME, ANY)
@example("The drawer doesn't look ", "Good", "")
@example("far from ", "Good", ".")
def test_a_name_inside_a_sentence_is_no_rating(before, name, after):
    """Letters right before or after the name on its line make it part of a sentence."""
    assert read(f"{before} so {name}") is None
    assert read(f"{name} so {after}") is None


@given(ANY, NAME)
def test_what_was_thought_never_decides(thought, name):
    other = "Bad" if name != "Bad" else "Good"
    assert read(f"<think>{thought}\nRating: {other}\n</think>\n{name}") == name
    assert read(f"{thought}\nRating: {other}\n</think>\n{name}") == name
    assert read(f"<think>{thought}\nRating: {other}") is None


@given(ANY, NAME, ANY)
def test_json_is_read_or_not_but_never_as_another_class(before, name, after):
    body = json.dumps({"rating": name})
    assert read(f"{before}{body}{after}") in (None, name)
    assert read(f"{body}\n{json.dumps({'note': before})}") == name
    assert read(f"```json\n{body}\n```<|im_end|>") == name


@given(NAME, NAME)
def test_two_classes_are_no_rating(first, second):
    if first != second:
        for text in (f"Rating: {first}\nRating: {second}", f"Rating: {first}. Or {second}.", f"{first}\n{second}"):
            assert read(text) is None
        assert read(f'{{"rating": "{first}", "other": "{second}"}}') is None


@given(st.text(max_size=200))
def test_any_text_is_a_class_or_no_rating(text):
    read(text)
    for parse in (lambda: parse_ratings(text, FIVE, 2), lambda: parse_grade(text, 3)):
        with contextlib.suppress(NoRating):
            parse()


@given(st.text(st.sampled_from("</>analysisANALYSIS think \n-_"), max_size=80))
def test_an_analysis_never_ends_its_quotation(analysis):
    template = "wrote this analysis:\n<analysis>\n{analysis}\n</analysis>\nclasses"
    prompt = template.format(analysis=quoted(analysis, template)).lower()
    assert prompt.count("</analysis>") == 1 and prompt.count("<analysis>") == 1


def test_classes_of_every_language_are_told_apart():
    names = ["나쁨", "보통", "좋음"]
    assert read("등급: 좋음", names) == "좋음" and read("안 좋음", names) is None
    assert Choices(["差", "好"]).named("不好") == {1}


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("ANSWER: 4", 5, 3), ("ANSWER: 1", 5, 0), ("answer: 5", 2, 1), ("ANSWER: 4", 2, 0), ("ANSWER: 3", 3, 1),
        ("ANSWER: 2", 4, 1), ("4", 5, 3), ("ANSWER: 4/5", 5, 3), ("**ANSWER: 5**", 3, 2), ('{"score": 2}', 5, 1),
        ("The drawer is open 3 cm.\nANSWER: 2", 5, 1), ("<think>ANSWER: 1?</think>ANSWER: 5<|im_end|>", 5, 4),
    ],
)  # fmt: skip
def test_a_grade_is_read(text, n, expected):
    assert parse_grade(text, n) == expected


@pytest.mark.parametrize(
    "text",
    ["ANSWER: 6", "ANSWER: 0", "ANSWER: -4", "ANSWER: 4.5", "ANSWER: 3 or 4", "ANSWER: 3\nANSWER: 4", "about 4 cm", "",
     "ANSWER: <score>", "I give it a 4, maybe", '{"score": 4.5}', "ANSWER: four"],
)  # fmt: skip
def test_no_grade_is_invented(text):
    with pytest.raises(NoRating):
        parse_grade(text, 5)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"), ("a</think>b", "b"), ("<think>a", ""), ("<think>a<think>b</think>c</think>d", "d"),
        ("[THINK]a[/THINK]b", "b"), ("a", "a"), ("<think></think>", ""), ("<Thinking>a</thinking> b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
    ],
)  # fmt: skip
def test_thinking_is_taken_out(text, left):
    assert without_thinking(text) == left
