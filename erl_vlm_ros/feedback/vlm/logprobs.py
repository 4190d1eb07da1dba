# SPDX-License-Identifier: Apache-2.0
"""From the log-probabilities of a model's tokens to a probability for each class: a soft label from one query."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erl_vlm_ros.feedback.vlm.choice import plain

STAGE = "probabilities"  # of a ledger's answers: what was made of the tokens of the answer to the rating stage
ALTERNATIVES = 5  # asked for at each token; the classes are five at most
_LEAST = 0.5  # of the probability must be on the classes, else the tokens say nothing about them
_MOST_TOKENS = 4096


@dataclass(frozen=True)
class Token:
    """A token of an answer, and what might have stood there: text -> probability."""

    text: str
    alternatives: dict[str, float]


def read_tokens(choice: Any) -> tuple[Token, ...]:
    """The tokens of a chat completion's choice; empty where the endpoint gives none, or in another shape."""
    try:
        content = choice["logprobs"]["content"] or []
        tokens = []
        for entry in content[:_MOST_TOKENS]:
            found = {str(entry["token"]): math.exp(min(float(entry["logprob"]), 0.0))}
            for other in entry.get("top_logprobs") or []:
                found.setdefault(str(other["token"]), math.exp(min(float(other["logprob"]), 0.0)))
            tokens.append(Token(str(entry["token"]), found))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return ()
    return tuple(tokens) if all(math.isfinite(p) for t in tokens for p in t.alternatives.values()) else ()


def class_probabilities(tokens: Sequence[Token], names: Sequence[str], chosen: int) -> np.ndarray | None:
    """float32 [n], sums to 1: how probable each class was where the answer names the chosen one; None: cannot be told.

    The name may be several tokens. At each of them, what else might have stood there is given to the classes that
    begin with it; a token with which several begin is followed where the answer followed it, and divided elsewhere.
    """
    start = _start(tokens, names[chosen])
    if start is None:
        return None
    wanted = [plain(name) for name in names]
    mass, path, written = np.zeros(len(names)), 1.0, ""
    for token in tokens[start:]:
        for text, p in token.alternatives.items():
            if text == token.text:
                continue
            _share(mass, path * p, plain(written + text), wanted)
        written += token.text
        path *= token.alternatives[token.text]
        if plain(written).startswith(wanted[chosen]):
            mass[chosen] += path
            break
    else:
        return None
    total = mass.sum()
    return (mass / total).astype(np.float32) if total >= _LEAST else None


def to_text(probabilities: np.ndarray) -> str:
    """As the ledger keeps them."""
    return json.dumps({"probabilities": [round(float(p), 6) for p in probabilities]})


def from_text(text: str, n: int) -> np.ndarray | None:
    """Inverse of ``to_text``; None where it is for another number of classes."""
    shares = json.loads(text).get("probabilities") or []
    if len(shares) != n:
        return None
    label = np.array(shares, np.float32)
    return label / label.sum()


def _share(mass: np.ndarray, p: float, text: str, wanted: Sequence[str]) -> None:
    """Give ``p`` to the classes that the text is the beginning of (or that it begins with), in equal parts."""
    fits = [i for i, name in enumerate(wanted) if text and (name.startswith(text) or text == name)]
    for i in fits:
        mass[i] += p / len(fits)


def _start(tokens: Sequence[Token], name: str) -> int | None:
    """Index of the token at which the last mention of a name begins."""
    wanted, found = plain(name), None
    for i in range(len(tokens)):
        text = ""
        for token in tokens[i:]:
            text += token.text
            words = plain(text)
            if not wanted.startswith(words) or words == wanted:
                break
        if words == wanted and plain(tokens[i].text):
            found = i
    return found
