# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix: the message says what to do, the fields say what is to blame."""

from __future__ import annotations

from enum import Enum
from typing import Any

from typing_extensions import Self  # in typing from Python 3.11 on


class Code(Enum):
    """What kind of fault it is, for code that branches on it; the wording of messages is free."""

    OTHER = "other"
    VALUE = "a value that is not allowed"
    UNKNOWN = "a name that stands for nothing: of a node, a parameter, a task, an option"
    NOT_GIVEN = "something is needed and was not given"
    DOES_NOT_FIT = "two values, files or parts that do not fit each other"
    NOT_BY_TASK = "a parameter that a task file may not set"
    SECRET = "a key or password in place of a name"
    YAML = "not readable as YAML"
    MISSING_FILE = "a file or folder that is not there"
    UNREADABLE = "a file that is damaged, or not of the kind that it should be"
    OTHER_VERSION = "a file that another version wrote"
    NOT_WRITTEN = "a place that cannot be written"
    EXISTS = "something that is there already and would be overwritten"
    IN_USE = "held by another process"
    MISSING_PACKAGE = "a package that is not installed; ``remedy`` is the line that installs it"
    UNREACHABLE = "a device or an endpoint that does not answer, or lets nobody in"


def file_fault(error: Exception) -> Code:
    """The code of a file that could not be read: it is not there, or something is wrong with it."""
    return Code.MISSING_FILE if isinstance(error, FileNotFoundError) else Code.UNREADABLE


class _Fields:
    """What an error says beside its message.

    Args:
        code: the kind of fault; by default VALUE where a parameter is named.
        parameter: NODE.NAME, the key of a file, an option of the command line or a launch argument (without dashes), or
            an environment variable.
        file: the file or folder, with or without ``:LINE``.
        remedy: the line to type.

    Each is empty where there is none.
    """

    def __init__(
        self, message: str, *, code: Code | None = None, parameter: str = "", file: str = "", remedy: str = ""
    ):
        super().__init__(message)
        self.code = code or (Code.VALUE if parameter else Code.OTHER)
        self.parameter, self.file, self.remedy = parameter, file, remedy


class ConfigError(_Fields, ValueError):
    """Wrong configuration: unknown name, key out of range, missing file or variable."""

    def within(self, where: str, *, parameter: str = "", file: str = "") -> ConfigError:
        """The same fault as seen from further out: ``where: message``; the fields given here fill those that are empty.

        Args:
            where: in front of the message; empty: the message stays as it is.
        """
        return ConfigError(
            f"{where}: {self}" if where else str(self),
            code=self.code if self.code is not Code.OTHER else None,
            parameter=self.parameter or parameter,
            file=self.file or file,
            remedy=self.remedy,
        )


def wrong_parameter(node: str, name: str, problem: str, **fields: Any) -> ConfigError:
    """ConfigError ``parameter 'NAME' of NODE PROBLEM``; ``problem`` may begin with a colon. ``fields``: code, file."""
    blank = "" if problem.startswith(":") else " "
    return ConfigError(f"parameter '{name}' of {node}{blank}{problem}", parameter=f"{node}.{name}", **fields)


class StateError(_Fields, RuntimeError):
    """A file or a device that fails while the program runs, and that a person has to look after."""


class DataError(ValueError):
    """Arrays, bytes or a message that are not what they should be.

    ``field`` is what of them is to blame, for instance ``episode.actions`` or ``meta.seed``.
    """

    def __init__(self, message: str, *, field: str = ""):
        super().__init__(message)
        self.field = field

    @classmethod
    def of(cls, error: ValueError, where: str = "", field: str = "") -> Self:
        """What was wrong within: ``where: message``, and the field there within ``field``."""
        parts = (field, getattr(error, "field", ""))
        return cls(f"{where}: {error}" if where else str(error), field=".".join(filter(None, parts)))
