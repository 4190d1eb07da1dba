# SPDX-License-Identifier: Apache-2.0
"""Configurations: frozen pydantic dataclasses whose fields say type, default, range and text once.

From a field come the check when an object is made, the ROS parameter, its line in docs/nodes.md and the check of
--set and parameter files (``erl_vlm_ros.params.param.group``). Types: bool, int, float, str, a Literal of str or int,
``tuple[T, T]`` of fixed and ``tuple[T, ...]`` of free length, and each of them ``| None`` for "not set". Numbers are
finite; a whole number is fine for a float, a list for a tuple; nothing is read out of text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import dataclass_transform  # in typing from Python 3.11 on

from erl_vlm_ros.common.errors import Code, ConfigError

C = TypeVar("C")
_RULES = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def setting(default: Any, text: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A field of a ``config`` class.

    Entries of a tuple have their bounds in the annotation: ``tuple[Annotated[int, Field(ge=0)], ...]``.
    """
    return Field(default=default, description=text, ge=low, le=high)


@dataclass_transform(frozen_default=True, field_specifiers=(setting,))
def config(prefix: str) -> Callable[[type[C]], type[C]]:
    """Decorator of a configuration. ``prefix``: of its parameters, for messages: ``sac``.

    Making an object with a wrong value raises ConfigError that names the field.
    """

    def decorate(cls: type[C]) -> type[C]:
        made = checked_dataclass(cls, frozen=True, config=_RULES)
        checked = made.__init__

        def __init__(self: Any, *values: Any, **named: Any) -> None:
            named = {name: tuple(value) if isinstance(value, list) else value for name, value in named.items()}
            try:
                return checked(self, *values, **named)
            except ValidationError as error:
                refused = refusal(prefix, error)
            raise refused  # outside: pydantic's own text shows the values, a secret too

        made.__init__ = __init__
        return made

    return decorate


def refusal(prefix: str, error: ValidationError) -> ConfigError:
    """The first complaint as a ConfigError."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # from __post_init__: two fields that do not fit each other
        return cause
    name = ".".join(filter(None, (prefix, *(part for part in map(str, first["loc"]) if not part.isdecimal()))))
    text = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    value = "" if first["type"] == "missing" else f" is {first['input']!r}"
    return ConfigError(f"{name}{value}: {text}", code=Code.VALUE, parameter=name)


def from_values(cls: type[C], values: Mapping[str, Any], prefix: str = "", **more: Any) -> C:
    """A configuration from flat parameters: those of ``values`` named ``prefix`` + field.

    Raises:
        ConfigError: a value that the class refuses.
    """
    found = {name: values[prefix + name] for name in cls.__dataclass_fields__ if prefix + name in values}
    return cls(**found | more)
