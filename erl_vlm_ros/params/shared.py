# SPDX-License-Identifier: Apache-2.0
"""Parameters that several nodes must know alike: set for one of them, a value holds for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.params.layers import Overrides, flatten
from erl_vlm_ros.params.param import file_of
from erl_vlm_ros.params.tables._shared import SHARED

_NAMES = frozenset(param.name for param in SHARED)


def shared_values(layers: Iterable[tuple[str, Overrides]]) -> dict[str, Any]:
    """The shared parameters that are set, by name; a later layer wins.

    Args:
        layers: (origin for messages, node -> parameter -> value).

    Raises:
        ConfigError: one layer gives two nodes different values.
    """
    out: dict[str, Any] = {}
    for origin, layer in layers:
        said: dict[str, tuple[str, Any]] = {}
        for node, values in layer.items():
            for key, value in flatten(values).items():
                if key not in _NAMES:
                    continue
                before, known = said.setdefault(key, (node, value))
                if known != value:
                    text = (
                        f"{origin}: {before}.{key} is {known!r}, but {node}.{key} is {value!r}: all nodes must know "
                        "the same; give it once"
                    )
                    raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"{node}.{key}", file=file_of(origin))
        out |= {key: value for key, (_, value) in said.items()}
    return out
