# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can mend: the message names the parameter or file, and what to do."""

from __future__ import annotations


class ConfigError(ValueError):
    """Wrong configuration: unknown name, key out of range, missing file or variable."""
