# SPDX-License-Identifier: Apache-2.0
"""The configuration in an agent's saved state, and whether a state fits the agent that is to take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError


def config_state(config: Any) -> dict[str, Any]:
    """A configuration as it is saved: tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}


def require_saved(saved: Mapping[str, Any], config: Any, fields: Sequence[str], who: str = "agent") -> None:
    """ConfigError when ``saved``, of config_state, has another value in one of ``fields`` than ``config`` has."""
    mine = config_state(config)
    for name in fields:
        if saved[name] != mine[name]:
            text = f"the saved {who} has {name} {saved[name]}, this run has {mine[name]}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"{who.lower()}.{name}")
