# SPDX-License-Identifier: Apache-2.0
"""Strips of frames, other measurements in words and as a plot, one class for each step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError, DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import decode_jpeg, encode_jpeg
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment, transitions
from erl_vlm_ros.feedback.kinds import RATING, TRANSITIONS
from erl_vlm_ros.feedback.kinds.transitions import parse_ratings, ratings_schema
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.frames import check_frames
from erl_vlm_ros.feedback.vlm.modalities import as_plot, asked, in_words
from erl_vlm_ros.feedback.vlm.parsing import NoRating
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.strip import split_strip, strip

NAMES = ["Very Bad", "Bad", "Good"]


def jpeg(value, size=(40, 48)):
    return encode_jpeg(np.full((*size, 3), value, np.uint8))


def segment(h, names=(), extras=None):
    proprio = np.zeros((h, 10), np.float32)
    proprio[:, -1] = np.linspace(0.08, 0.02, h)
    jpegs = [jpeg(40 * i + 20) for i in range(h)]
    return Segment(f"e3_t{10 + h}_h{h}", jpegs, proprio, np.zeros((h, 3)), np.arange(h), extras, names)


def test_a_strip_shows_the_frames_from_left_to_right_with_their_numbers():
    image = decode_jpeg(strip([jpeg(v) for v in (20, 120, 220)]))
    frames = split_strip(image, 3)
    assert [f.shape for f in frames] == [(40, 48, 3)] * 3
    np.testing.assert_allclose([f.mean() for f in frames], [20, 120, 220], atol=6)
    bar = image[:22]
    assert bar.max() > 240 and (bar < 100).sum() > 100  # black letters on white
    assert strip([jpeg(1), jpeg(2)]) == strip([jpeg(1), jpeg(2)])
    with refused(DataError, field="width"):
        split_strip(image[:, 1:], 2)


@pytest.mark.parametrize(
    ("jpegs", "fields"),
    [
        ([jpeg(1), jpeg(1, (40, 40))], {"field": "sizes", "shows": ("40x40", "48x40")}),
        ([jpeg(1), b"no image"], {"field": ""}),
        ([jpeg(1, (8, 2000))] * 5, {"field": "width", "shows": "8192"}),
    ],
)
def test_frames_that_make_no_strip_are_refused(jpegs, fields):
    with refused(ValueError, **fields):
        strip(jpegs)


@pytest.mark.parametrize(
    ("frames", "fields"),
    [
        ([jpeg(1), b"no image"], {"field": "segment s, frame 2"}),
        ([jpeg(1), jpeg(1, (48, 40))], {"field": "segment s, frame 2", "shows": ("40x48", "48x40")}),
        ([jpeg(1, (8, 40))], {"field": "segment s, frame 1", "shows": "40x8"}),
    ],
)
def test_frames_of_a_wrong_size_are_refused_before_anything_is_asked(frames, fields):
    def batch(jpegs):
        h = len(jpegs)
        return QueryBatch.of(0, [Segment("s", jpegs, np.zeros((h, 10)), np.zeros((h, 3)), np.arange(h))])

    check_frames(batch([jpeg(1), jpeg(2)]))
    with refused(DataError, **fields):
        check_frames(batch(frames))


def test_measurements_in_words():
    names = ("wrench_fz", "wrench_tx", "effort_elbow", "temperature")
    seg = segment(3, names, np.array([[1, 0.1, 5, 40], [2, 0.2, 6, 41], [12.34, 0.3, 7, 42]]))
    assert in_words(seg, ("wrench", "gripper", "effort")).splitlines() == [
        "Measured at the moment of each image, in order:",
        "- force z: 1.0, 2.0, 12.3 N",
        "- torque x: 0.1, 0.2, 0.3 Nm",
        "- gripper opening: 8.0, 5.0, 2.0 cm",
        "- effort of elbow: 5.0, 6.0, 7.0 Nm",
    ]
    assert in_words(segment(1), ("gripper",)) == "Measured at the moment of the image:\n- gripper opening: 8.0 cm"
    assert in_words(segment(2), ("wrench",)) == "" and as_plot(segment(2), ("wrench",)) is None


def test_measurements_as_a_plot():
    seg = segment(4, ("wrench_fz", "effort_elbow"), np.array([[0, 1], [1, 1], [5, 1], [9, 1]]))
    one, two = as_plot(seg, ("wrench",)), as_plot(seg, ("wrench", "gripper"))
    assert decode_jpeg(two).shape[0] == 2 * decode_jpeg(one).shape[0]
    assert as_plot(seg, ("wrench",)) == one
    image = cv2.cvtColor(decode_jpeg(one), cv2.COLOR_RGB2HSV)
    rows, columns = np.nonzero((image[..., 1] > 120) & (image[..., 2] > 60))  # the coloured line
    line = columns < 360  # without its name
    assert columns[line].max() - columns[line].min() > 200 and rows[line].max() - rows[line].min() > 60


def test_modalities_are_checked():
    assert asked(["none"]) == () and asked(["gripper", "wrench"]) == ("gripper", "wrench")
    with refused(parameter="vlm_rater.modalities", shows=("wrench", "gripper", "effort")):
        RaterConfig(modalities=["smell"])
    with refused(parameter="vlm_rater.modalities", shows="gripper"):
        RaterConfig(modalities=["gripper", "gripper"])


def test_a_segment_falls_apart_into_the_frames_its_transitions_lead_to():
    seg = segment(3, ("wrench_fz",), np.array([[1.0], [2.0], [3.0]]))
    parts = transitions(seg)
    assert [p.id for p in parts] == ["e3_t12_h1", "e3_t13_h1"]  # the last is the segment's own last frame
    assert [p.jpegs[0] for p in parts] == seg.jpegs[1:] and [int(p.stamps[0]) for p in parts] == [1, 2]
    assert [float(p.extras[0, 0]) for p in parts] == [2.0, 3.0]
    with refused(DataError, field="length"):
        transitions(segment(1))


@pytest.mark.parametrize(
    "text",
    [
        '{"step_1": "Bad", "step_2": "Very Bad", "step_3": "Good"}',
        '```json\n{"step_1": "bad", "step_2": "very bad", "step_3": "good"}\n```',
        '["Bad", "Very Bad", "Good"]',
        "step 1: Bad\nstep 2: Very Bad.\nstep 3: Good",
        "1. **Bad**\n\n2. Very Bad\n3. Good",
        "- Step 1: Bad\n- Step 2: Very Bad\n- Step 3: Good\n",
        "Bad, Very Bad, Good",
        "Bad\nVery Bad\nGood",
    ],
)
def test_one_class_for_each_step(text):
    assert parse_ratings(text, NAMES, 3) == [1, 0, 2]


@pytest.mark.parametrize(
    "text",
    [
        "", "Bad", "Bad, Good", "Bad, Good, Good, Good", "step 1: Bad\nstep 3: Good\nstep 2: Good", "{}", "{",
        '{"step_1": "Bad", "step_2": "Good"}', "step 1: Bad\nstep 2: Excellent\nstep 3: Good", "Bad, not Good, Good",
        '["Bad", "Excellent", "Good"]', "[1, 2, 3]",
    ],
)  # fmt: skip
def test_an_answer_with_one_unclear_step_is_no_rating(text):
    with pytest.raises(NoRating):
        parse_ratings(text, NAMES, 3)


def test_the_schema_asks_for_exactly_the_steps():
    schema = ratings_schema(NAMES, 2)["json_schema"]["schema"]
    assert list(schema["properties"]) == schema["required"] == ["step_1", "step_2"]
    assert parse_ratings(json.dumps(dict.fromkeys(schema["required"], "Good")), NAMES, 2) == [2, 2]


def test_prompts_of_the_modes():
    task = load_task("drawer_open")
    strips = load_prompts(task, 3, frames="strip")
    assert "One picture with 3 consecutive camera images side by side" in strips.analysis(3)
    assert strips.analysis(1) == load_prompts(task, 3).analysis(1)
    each = load_prompts(task, 3, kind=TRANSITIONS)
    for text in (each.rating(4, "ANALYSIS"), each.one_stage(4)):
        assert "There are 3 steps" in text and "- Average: the drawer is partly open" in text
    assert "what has changed since the image before" in each.analysis(4)
    told = load_prompts(task, 3, measured=True)
    for text in (told.analysis(2, "ACTIONS", "FORCES"), told.one_stage(2, "ACTIONS", "FORCES")):
        assert "ACTIONS\nFORCES\nFocus" in text


@pytest.mark.parametrize("name", ["default", "reworded", "mirrored", "detail"])
def test_every_shipped_set_can_tell_measurements(name):
    assert "FORCES" in load_prompts(load_task("drawer_open"), 3, name, measured=True).one_stage(1, "", "FORCES")


def test_a_set_that_lacks_what_a_mode_needs_is_refused(tmp_path):
    for name in ("analysis", "rating", "one_stage"):
        fields = "{images}{instruction}{classes}" if name != "analysis" else "{images}{instruction}"
        (tmp_path / f"{name}.txt").write_text(fields + ("{analysis}" if name == "rating" else ""))
    task = load_task("drawer_open")
    load_prompts(task, 3, tmp_path)
    with refused(
        ConfigError,
        parameter="measurements",
        code=Code.NOT_GIVEN,
        file=tmp_path / "analysis.txt",
        shows="{measurements}",
    ):
        load_prompts(task, 3, tmp_path, measured=True)
    with refused(ConfigError, code=Code.MISSING_FILE, file=tmp_path / "analysis_transitions.txt"):
        load_prompts(task, 3, tmp_path, kind=TRANSITIONS)


def test_the_page_about_teachers_lists_the_templates_and_its_example_is_a_task(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "teachers.md"
    if not page.is_file():
        pytest.skip("needs the checkout")
    text = page.read_text()
    for template in (*RATING.templates.values(), *TRANSITIONS.templates.values()):
        (row,) = re.findall(rf"^\| `{template.file}.txt` \|(.*)\|(.*)\|$", text, re.M)
        assert [set(re.findall(r"{(\w+)}", cell)) for cell in row] == [template.required, template.optional]
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if "instruction:" in block]
    (tmp_path / "stack_cups.yaml").write_text(example)
    task = load_task(tmp_path / "stack_cups.yaml")
    assert task.class_names(3) == ["Bad", "Average", "Good"]
    assert (page.parent / "img" / "human_page.png").stat().st_size < 150_000
