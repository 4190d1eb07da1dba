# SPDX-License-Identifier: Apache-2.0
"""Keys and passwords are never parameters: what looks like one is refused before it is written or shown anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from erl_vlm_ros.common.errors import Code, wrong_parameter

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_LONGEST = 64
_KEY_LIKE = 20  # characters in a row without _: longer words than those that names are made of


def variable_problem(name: str) -> str:
    """Why a text cannot be the name of the environment variable with a key; empty: it can. Never shows the text."""
    words = re.split("_+", name)
    if not name or (_VARIABLE.fullmatch(name) and len(name) <= _LONGEST and max(map(len, words)) < _KEY_LIKE):
        return ""
    return (
        "must be the NAME of an environment variable in capitals, such as OPENAI_API_KEY (what it is now is not shown, "
        "for it may be the key itself)"
    )


def address_problem(address: str) -> str:
    """Why an endpoint's address holds more than an address; empty: it does not. Never shows the address."""
    try:
        url = urlsplit(address)
        secret = url.username or url.password or url.query
    except ValueError:
        secret = "@" in address or "?" in address
    return "must not hold a key, password or query; name the key's variable in api_key_env" if secret else ""


def check_secrets(node: str, values: Mapping[str, Any]) -> None:
    """ConfigError for a parameter of ``node`` that seems to hold a secret; the message does not show it."""
    for key, value in values.items():
        last = key.rpartition(".")[2]
        judge = {"api_key_env": variable_problem, "base_url": address_problem}.get(last.removesuffix("s"))
        texts = value if isinstance(value, (list, tuple)) else [value]
        for text in texts if judge is not None else ():
            problem = judge(text) if isinstance(text, str) else ""
            if problem:
                raise wrong_parameter(node, key, problem, code=Code.SECRET)
