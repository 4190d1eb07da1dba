# SPDX-License-Identifier: Apache-2.0
"""Answers become a class only when they name exactly one; all else is no rating."""

from __future__ import annotations

import pytest

from erl_vlm_ros.feedback.vlm.parsing import NoRating, parse_rating, rating_schema

FIVE = ["Very Bad", "Bad", "Average", "Good", "Very Good"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"rating": "Good"}', 3),
        ('```json\n{"rating": "very bad"}\n```', 0),
        ("Very Good", 4),
        ("**Bad**", 1),
        ("Rating: Average.", 2),
        (" good \n", 3),
        ('{"rating": "Good", "why": "x"}', 3),
    ],
)
def test_one_class_is_read(text, expected):
    assert parse_rating(text, FIVE) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"rating": "Splendid"}', "out_of_class"),
        ("Splendid", "out_of_class"),
        ('{"rating": 3}', "unreadable"),
        ("I would rate this image as Very Bad.", "unreadable"),
        ('{"rating": ', "unreadable"),
        ('["Good"]', "unreadable"),
        ("Good or Bad", "unreadable"),
        ("It is not Good", "unreadable"),
        ("I am unsure, maybe Good", "unreadable"),
        ("", "unreadable"),
        ("word " * 200 + "Good", "unreadable"),
        ("[" * 100_000, "unreadable"),
        ("The picture shows an arm, and a drawer, and much else besides.", "unreadable"),
    ],
)
def test_anything_else_is_no_rating(text, reason):
    with pytest.raises(NoRating) as caught:
        parse_rating(text, FIVE)
    assert caught.value.reason == reason


def test_a_longer_name_hides_the_shorter_one_inside_it():
    assert parse_rating("very bad", ["Bad", "Very Bad"]) == 1
    with pytest.raises(NoRating):
        parse_rating("Very Bad, or rather Bad", FIVE)


def test_schema_allows_the_classes_and_nothing_else():
    schema = rating_schema(FIVE)["json_schema"]["schema"]
    assert schema["properties"]["rating"]["enum"] == FIVE
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["rating"]
