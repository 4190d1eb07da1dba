# SPDX-License-Identifier: Apache-2.0
"""YAML: numbers as ROS reads them; what would cost memory or means two things is refused with its line."""

from __future__ import annotations

import ast
import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import erl_vlm_ros
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.common.yaml_file import MAX_BYTES, dump_yaml, parse_yaml, read_yaml
from erl_vlm_ros.params.layers import parse_overrides, read_parameter_file


def value(text):
    return parse_yaml(text, "here")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4), ("1E3", 1000.0), ("-2e+1", -20.0), (".5", 0.5), ("1.", 1.0), ("1.5e3", 1500.0),
        (".inf", float("inf")), ("12", 12), ("-0", 0), ("0x1F", 31), ("1_000", 1000), ("010", 8),
        ("true", True), ("1:30", "1:30"), ("1e", "1e"), ("e5", "e5"), ("1.2.3", "1.2.3"), ("''", ""), ("", None),
        ("{a: [1e-4, b]}", {"a": [1e-4, "b"]}),
    ],
)  # fmt: skip
def test_numbers_and_texts(text, expected):
    assert value(text) == expected and type(value(text)) is type(expected)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
HOSTILE = {
    "aliases": (LAUGHS, 2),
    "merge keys": ("a: &a {b: 1}\nc: {<<: *a}", 2),
    "brackets": ("[" * 3000, 1),
    "closed brackets": ("a:\n  " + "[" * 3000 + "]" * 3000, 2),
    "braces": ("{a: " * 3000, 1),
    "a key twice": ("a: 1\nb: 2\na: 3", 3),
    "a key twice, deep": ("a:\n  - {b: 1,\n     'b': 2}", 3),
    "a key that is a list": ("a: 1\n? [b]\n: 2", 2),
    "a whole number of 400 digits": ("a: 1\nb: " + "9" * 400, 2),
    "a tag": ("a: 1\nb: !!python/object/apply:os.system [ls]", 2),
    "control characters": ("a: \x00", 1),
    "two documents": ("a: 1\n---\nb: 2", 2),
    "not closed": ("a: [1, 2", 1),
    "a day that is none": ("2026-13-45", 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused_in_every_reader_with_its_line(name, tmp_path):
    text, line = HOSTILE[name]
    before = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here")
    path = tmp_path / "file.yaml"
    path.write_text(text)
    for read in (read_yaml, load_task, read_parameter_file):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert str(caught.value).startswith(f"{path}:{line}: ") or name == "control characters"
    with pytest.raises(ConfigError):
        parse_overrides([f"learner.seed={text}"])
    assert time.monotonic() - before < 20


def test_files_that_are_missing_too_large_or_not_utf8(tmp_path):
    for content in (None, b"\xff\xfe", b"a: " + b"x" * MAX_BYTES):
        path = tmp_path / "file.yaml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_yaml(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError):
        read_yaml(tmp_path)


def test_parameter_files_overrides_and_tasks_read_the_same_number(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("reward_trainer:\n  ros__parameters:\n    trunk.lr: 1e-4\n")
    assert read_parameter_file(path) == {"reward_trainer": {"trunk.lr": 1e-4}}
    assert parse_overrides(["reward_trainer.trunk.lr=1e-4"]) == {"reward_trainer": {"trunk.lr": 1e-4}}
    assert parse_overrides(["vlm_rater.model=1e-4"]) == {"vlm_rater": {"model": "1e-4"}}  # a text parameter
    assert parse_overrides(["vlm_rater.model=[it"]) == {"vlm_rater": {"model": "[it"}}


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30),
    st.sampled_from(["1e-4", "1e5", "010", "0x1", "yes", "null", "~", ".inf", "1:30", "2026-01-01", "*a", "<<", "- a"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_read_back_as_it_was(values):
    again = value(dump_yaml(values))
    assert repr(again) == repr(values) or again == values and dump_yaml(again) == dump_yaml(values)


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_config_error(text):
    with contextlib.suppress(ConfigError):
        value(text)


def test_a_value_that_is_in_two_places_is_written_out():
    shared = [1, 2]
    assert value(dump_yaml({"a": shared, "b": shared})) == {"a": [1, 2], "b": [1, 2]}


def test_nobody_else_reads_or_writes_yaml():
    package = Path(erl_vlm_ros.__file__).parent
    callers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yaml":
                reads = node.attr in ("load", "safe_load", "load_all", "compose", "dump", "safe_dump", "full_load")
                callers |= {str(path.relative_to(package))} if reads else set()
    assert callers <= {"common/yaml_file.py"}
