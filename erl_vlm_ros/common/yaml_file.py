# SPDX-License-Identifier: Apache-2.0
"""The only reader and writer of YAML: small, flat, no aliases, no key twice, numbers as ROS reads them.

Differs from PyYAML's ``safe_load``: ``1e-4`` is a number (YAML 1.2, and ROS's own parser), aliases and merge keys are
refused (as by ROS's own parser), a key that is there twice is refused with its line, and so are texts above MAX_BYTES,
nesting beyond MAX_DEPTH and whole numbers that do not fit 64 bits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from erl_vlm_ros.common.errors import Code, ConfigError, file_fault

MAX_BYTES = 4 << 20
MAX_DEPTH = 32
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT_TAG, _INT_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"


def _resolvers(kind: type) -> dict[str, list[tuple[str, Any]]]:
    """The implicit resolvers of ``kind`` with our numbers in place of its own (``1:30`` is a text, as in ROS)."""
    ours = {_FLOAT_TAG: _FLOAT, _INT_TAG: _INT}
    return {
        first: [(tag, ours.get(tag, pattern)) for tag, pattern in entries if tag != "tag:yaml.org,2002:merge"]
        for first, entries in kind.yaml_implicit_resolvers.items()
    }


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers(yaml.SafeLoader)
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise _problem(f"the alias *{event.anchor} is not read here: write its value out", event)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH} levels", self.peek_event())
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key must be a single value", key)
            if (key.tag, key.value) in seen:
                raise _problem(f"the key '{key.value[:80]}' is there twice", key)
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:  # a date that does not exist
            raise _problem(str(error), node) from error

    def construct_int(self, node: Any) -> int:
        value = self.construct_yaml_int(node) if len(node.value) <= 80 else 1 << 80
        if not -(2**63) <= value < 2**63:
            raise _problem(f"the whole number {node.value[:24]} does not fit 64 bits", node)
        return value


_Loader.add_constructor(_INT_TAG, _Loader.construct_int)


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts that the loader, or ROS, would take for numbers."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeDumper)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _problem(words: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, words, at.start_mark)


def parse_yaml(text: str, origin: str, file: str = "", parameter: str = "") -> tuple[Any, yaml.Node | None]:
    """A YAML document as plain values, and as nodes that know their lines. ConfigError that begins with ``origin``.

    ``file`` or ``parameter`` is what the error names as to blame.
    """
    if len(text) > MAX_BYTES:
        problem = f"{origin}: {len(text)} characters of YAML are above the limit of {MAX_BYTES}"
        raise ConfigError(problem, code=Code.UNREADABLE, file=file, parameter=parameter)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            return (None if root is None else loader.construct_document(root)), root
        finally:
            loader.dispose()
    # ValueError: control characters; TypeError: keys that cannot be keys
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f":{mark.line + 1}"
        problem = f"{origin}{line}: not readable as YAML: {_words(error)}"
        raise ConfigError(problem, code=Code.YAML, file=file and f"{file}{line}", parameter=parameter) from error


def read_yaml(path: Path, origin: str = "", parameter: str = "") -> tuple[Any, yaml.Node | None]:
    """``parse_yaml`` of a file. ConfigError that begins with ``origin``, by default the path."""
    origin, file = origin or str(path), str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            problem = f"{origin}: {path.stat().st_size} bytes are above the limit of {MAX_BYTES} for YAML"
            raise ConfigError(problem, code=Code.UNREADABLE, file=file, parameter=parameter)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        text = f"{origin}: cannot be read: {error.strerror or error}"
        raise ConfigError(text, code=file_fault(error), file=file, parameter=parameter) from error
    except ValueError as error:  # not UTF-8
        text = f"{origin}: not readable as YAML: {_words(error)}"
        raise ConfigError(text, code=Code.YAML, file=file, parameter=parameter) from error
    return parse_yaml(text, origin, file, parameter)


def dump_yaml(value: Any, sort_keys: bool = True) -> str:
    """Plain values as YAML that this module and ROS read back as they were."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys, allow_unicode=True)


def _words(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    words = str(error) if mark is None else f"{error.problem} (column {mark.column + 1})"
    return " ".join(words.split())[:400]
