# SPDX-License-Identifier: Apache-2.0
"""A sentence as numbers for a policy of several missions: which of the known words are in it. No model is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.spaces import Part

MISSION = "mission"
OTHER = "(other)"


class BagOfWords:
    """How often each known word is in a text; the last number counts all others. The order of words is lost."""

    def __init__(self, words: Sequence[str]):
        """DataError: no words, one twice, or one that is no single word in lower case."""
        bad = [word for word in words if split_words(word) != [word]]
        if bad or not words or len(set(words)) != len(words):
            text = f"a vocabulary needs different single words in lower case, got {', '.join(bad or words) or 'none'}"
            raise DataError(text, field="vocabulary")
        self.words = tuple(words)
        self._place = {word: i for i, word in enumerate(words)}

    @property
    def part(self) -> Part:
        """Its part of an observation: a policy knows its mission as it knows itself."""
        return Part(MISSION, len(self.words) + 1, "", "mission", (*self.words, OTHER), proprioception=True)

    def __call__(self, text: str) -> np.ndarray:
        """float32 [V + 1]."""
        out = np.zeros(len(self.words) + 1, np.float32)
        for word in split_words(text):
            out[self._place.get(word, len(self.words))] += 1.0
        return out


def split_words(text: str) -> list[str]:
    """Its words in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())
