# SPDX-License-Identifier: Apache-2.0
"""A world of discrete (action, object) choices: take the thing that the mission names, then put it down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.choices import CHOICE, OBJECT_CHOICE, choice_spec
from erl_vlm_ros.data.spaces import ObservationSpec, Part, Spaces
from erl_vlm_ros.data.text import BagOfWords
from erl_vlm_ros.sim.backend import obey

THINGS = ("cup", "plate")
WORDS = BagOfWords(("put", "down", "the", *THINGS))
WAIT, TAKE, PUT = range(3)


def shelf_spaces() -> Spaces:
    """The mission's words and which thing is held, or was put down; actions with an object but for waiting."""
    state = Part("state", 2 * len(THINGS), "", "shelf", proprioception=True)
    labels = ("wait", "take the {object}", "put down the {object}")
    return Spaces(ObservationSpec((WORDS.part, state)), choice_spec(labels, THINGS))


class Shelf:
    """A DiscreteBackend (sim/backend.py)."""

    missions = len(THINGS)

    def __init__(self, task: Task | None, image_size: tuple[int, int] = (48, 48)) -> None:
        self.spaces, self._size = shelf_spaces(), image_size
        self.control_period = 0.1 if task is None else 1.0 / task.control_hz
        self.reset(0)

    def reset(self, seed: int) -> None:
        """The mission is the seed's."""
        self.wanted = seed % len(THINGS)
        self.instruction = f"put down the {THINGS[self.wanted]}"
        self.held, self.down = -1, -1

    def choose(self, choices: Mapping[str, int]) -> None:
        """Takes a thing with free hands, puts down the one that is held; after that nothing happens."""
        action, thing = choices[CHOICE], choices.get(OBJECT_CHOICE, -1)
        assert (thing < 0) == (action == WAIT)  # the mask
        if action == TAKE and self.held < 0 and self.down < 0:
            self.held = thing
        elif action == PUT and self.held == thing:
            self.held, self.down = -1, thing

    def do(self, action: np.ndarray) -> None:
        """As a rollout does it."""
        obey(self, action, self.spaces.action)

    def observation(self) -> np.ndarray:
        """float32 [O]."""
        n = len(THINGS)
        state = [*(self.held == i for i in range(n)), *(self.down == i for i in range(n))]
        return np.append(WORDS(self.instruction), state).astype(np.float32)

    def truth(self) -> dict[str, float]:
        """A half for holding the thing."""
        success = float(self.down == self.wanted)
        progress = 1.0 if success else 0.5 * (self.held == self.wanted)
        return {"progress": progress, "success": success} | {
            f"class_{n}": round(progress * (n - 1)) for n in (2, 3, 4, 5)
        }

    def render(self) -> np.ndarray:
        """A column for each number."""
        image = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        image[:, : 8 * len(THINGS)] = 255 * np.repeat(self.observation()[-2 * len(THINGS) :], 4)[:, None]
        return image

    def close(self) -> None:
        """Nothing to free."""
