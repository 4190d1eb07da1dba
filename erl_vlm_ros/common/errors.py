# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix: the message names the parameter or file, and what to do."""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """What kind of wrong configuration it is, for code that branches on it; the wording of messages is free."""

    OTHER = "other"
    YAML = "not readable as YAML"
    NOT_BY_TASK = "a parameter that a task file may not set"
    SECRET = "a key or password in place of a name"
    UNKNOWN = "a node or parameter that does not exist"
    VALUE = "a value that is not allowed"


class ConfigError(ValueError):
    """Wrong configuration: unknown name, key out of range, missing file or variable.

    ``parameter`` is NODE.NAME or the key of a file, ``file`` the file with or without ``:LINE``; empty where none is
    to blame.
    """

    def __init__(self, message: str, *, code: Code = Code.OTHER, parameter: str = "", file: str = ""):
        super().__init__(message)
        self.code, self.parameter, self.file = code, parameter, file
