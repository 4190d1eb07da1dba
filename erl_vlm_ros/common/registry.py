# SPDX-License-Identifier: Apache-2.0
"""Members of a seam by name: ours, loaded when they are first asked for, and those that others bring."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from erl_vlm_ros.common.errors import Code, ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from a name to a member, for instance a class. Another package adds one in any of three ways: it calls
    ``register``, it declares an entry point of the group ``erl_vlm_ros.KIND`` in its own setup, or, where a person
    names the member, it is given as ``package.module:Name``.

    Args:
        kind: for messages and for the entry points, for instance ``algorithm``.
        ours: name -> ``module:Name``.
    """

    def __init__(self, kind: str, ours: Mapping[str, str]):
        self.kind, self._table = kind, dict[str, Any](ours)

    def register(self, name: str, member: T) -> None:
        """Add a member for this process, or replace one."""
        self._table[name] = member

    def names(self) -> list[str]:
        """All that can be loaded by name."""
        return sorted({*self._table, *(point.name for point in entry_points(group=f"erl_vlm_ros.{self.kind}"))})

    def check(self, name: str, parameter: str) -> None:
        """Refuse a name that stands for nothing; nothing is imported. ConfigError names ``parameter``."""
        try:
            self._find(name, trusted=True)
        except ConfigError as error:
            raise error.within(parameter, parameter=parameter) from error

    def load(self, name: str, trusted: bool = True) -> T:
        """The member of that name.

        Args:
            trusted: a person chose the name: ``package.module:Name`` is imported. Never for a name out of a message.

        Raises:
            ConfigError: there is none, or its module cannot be imported.
        """
        member = self._find(name, trusted)
        if not isinstance(member, str):
            return member
        module, _, attribute = member.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"{self.kind} '{name[:80]}' cannot be loaded: {error}", code=Code.UNKNOWN) from error

    def _find(self, name: str, trusted: bool) -> T | str:
        """The member, or where it stands."""
        member = self._table.get(name)
        if member is None:
            member = next((point.value for point in entry_points(group=f"erl_vlm_ros.{self.kind}", name=name)), None)
        if member is None and trusted and ":" in name:
            member = name
        if member is None:
            near = difflib.get_close_matches(name, self.names(), 1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ConfigError(
                f"{self.kind} '{name[:80]}' is unknown{hint}; known: {', '.join(self.names())}"
                + (", or package.module:Name" if trusted else ""),
                code=Code.UNKNOWN,
            )
        return member
