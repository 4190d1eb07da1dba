# SPDX-License-Identifier: Apache-2.0
"""Keys of a YAML file with their lines, for errors that name them."""

from __future__ import annotations

from typing import Any

import yaml

from erl_vlm_ros.common.errors import Code, ConfigError


class Index(int):
    """A place in a list, told apart from a key that is a number."""


class Place:
    """Names a key of the file, with its line where the YAML nodes are at hand: ``FILE:12: classes.3[1]``."""

    def __init__(self, path: str, root: yaml.Node | None) -> None:
        self.path, self._root = path, root

    def __call__(self, *keys: Any) -> str:
        return f"{self.file(*keys)}: {self.dotted(*keys)}"

    def file(self, *keys: Any) -> str:
        """FILE:LINE of the innermost of ``keys`` that is there."""
        line = self._line(keys)
        return self.path if line is None else f"{self.path}:{line}"

    @staticmethod
    def dotted(*keys: Any) -> str:
        """The keys as one: ``classes.3[1]``."""
        return "".join(f"[{k}]" if isinstance(k, Index) else f".{k}" for k in keys).lstrip(".")

    def refused(self, problem: str, *keys: Any, code: Code = Code.VALUE, at: tuple[Any, ...] = ()) -> ConfigError:
        """``problem``, which begins with a blank or a colon, of the key. ``at``: where a reader should look, if
        elsewhere."""
        where = at or keys
        return ConfigError(self(*where) + problem, code=code, parameter=self.dotted(*keys), file=self.file(*where))

    def _line(self, keys: tuple[Any, ...]) -> int | None:
        """Line of the innermost of ``keys`` that is there, counted from 1."""
        node, line = self._root, None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                found = [(k, v) for k, v in node.value if k.value == str(key)]
                if not found:
                    break
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
            else:
                break
        return line
