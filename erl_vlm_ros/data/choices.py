# SPDX-License-Identifier: Apache-2.0
"""Discrete actions: one of K, or one of K with one of M objects, as one-hot parts of an action's vector.

The label of an action that takes an object has a hole for it, ``pick up {object}``; with any other the object's part
is all zeros. A *move* is what can be done: an action that takes no object, or one with its object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.spaces import ActionSpec, Part, SpecError

CHOICE, OBJECT_CHOICE = "choice", "object_choice"
ONE_HOT = "one-hot"  # the unit of such a part
HOLE = "{object}"


def choice_spec(actions: Sequence[str], objects: Sequence[str] = ()) -> ActionSpec:
    """The spec of one of ``actions``, with one of ``objects`` where its label has ``{object}``.

    Raises:
        SpecError: objects without an action that takes one, or the other way.
    """
    parts = [Part(CHOICE, len(actions), ONE_HOT, "policy", tuple(actions))]
    if objects:
        parts.append(Part(OBJECT_CHOICE, len(objects), ONE_HOT, "policy", tuple(objects)))
    spec = ActionSpec(tuple(parts))
    Moves.of(spec)
    return spec


def is_choice(spec: ActionSpec | None) -> bool:
    """Whether actions are chosen, not measured out."""
    return spec is not None and CHOICE in spec


class Moves:
    """The moves of K actions and M objects, numbered: first by action, then by object.

    Attributes:
        takes: of each action whether it takes an object.
        pairs: int64 [N, 2], action and object of each move; object -1: it takes none.
    """

    def __init__(self, takes: Sequence[bool], objects: int = 0):
        """SpecError: objects without an action that takes one, or the other way."""
        self.takes, self.objects = tuple(bool(t) for t in takes), int(objects)
        if any(self.takes) != (self.objects > 0):
            text = f"{self.objects} objects and {sum(self.takes)} actions that take one: there must be both or none"
            raise SpecError(text, field=OBJECT_CHOICE)
        pairs = [(a, o) for a, t in enumerate(self.takes) for o in (range(self.objects) if t else (-1,))]
        self.pairs = np.array(pairs, np.int64)
        self._number = np.full((len(self.takes), self.objects + 1), -1, np.int64)  # last column: no object
        self._number[self.pairs[:, 0], self.pairs[:, 1]] = np.arange(len(pairs))

    @classmethod
    def of(cls, spec: ActionSpec) -> Moves:
        """Those of a spec. SpecError: it has no choice, or another part beside."""
        known = {CHOICE, OBJECT_CHOICE}
        if CHOICE not in spec or {part.name for part in spec.parts} - known:
            raise SpecError(f"action: a discrete one has the parts choice and object_choice, not {spec}", field=CHOICE)
        part = spec.part(CHOICE)
        labels = part.labels or ("",) * part.size
        objects = spec.part(OBJECT_CHOICE).size if OBJECT_CHOICE in spec else 0
        return cls([HOLE in label for label in labels], objects)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def size(self) -> int:
        """Length of an action's vector."""
        return len(self.takes) + self.objects

    def vector(self, move: int) -> np.ndarray:
        """The action float32 [K + M] of a move."""
        out = np.zeros(self.size, np.float32)
        action, thing = self.pairs[move]
        out[action] = 1.0
        if thing >= 0:
            out[len(self.takes) + thing] = 1.0
        return out

    def numbers(self, actions: np.ndarray) -> np.ndarray:
        """The moves int64 [N] of actions [N, K + M]: the largest number of each part counts. DataError: wrong size."""
        rows = np.atleast_2d(actions)
        if rows.shape[1] != self.size:
            raise DataError(f"an action has {rows.shape[1]} numbers, this one has {self.size}", field="action")
        action = rows[:, : len(self.takes)].argmax(1)
        if not self.objects:
            return self._number[action, -1]
        thing = rows[:, len(self.takes) :].argmax(1)
        return self._number[action, np.where(np.array(self.takes)[action], thing, -1)]


def move_words(action: np.ndarray, spec: ActionSpec) -> str:
    """An action [K + M] in words: its label, with the object's in its hole."""
    moves = Moves.of(spec)
    chosen, thing = moves.pairs[int(moves.numbers(action)[0])]
    part = spec.part(CHOICE)
    label = part.labels[chosen] if part.labels else f"action {chosen}"
    if thing < 0:
        return label
    names = spec.part(OBJECT_CHOICE).labels
    return label.replace(HOLE, names[thing] if names else f"object {thing}")
