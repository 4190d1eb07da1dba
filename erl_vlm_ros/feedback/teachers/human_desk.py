# SPDX-License-Identifier: Apache-2.0
"""One page for a person who answers several kinds of query: it shows whichever waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erl_vlm_ros.feedback.teachers.by_kind import ByKind
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.teachers.human_page import HumanPage


class HumanDesk(ByKind):
    """HumanTeachers, one a kind and without pages of their own, behind one page and one joystick.

    A press goes to the teacher whose query is shown; to take one back, to the one that was pressed last.
    """

    def __init__(self, teachers: dict[str, HumanTeacher], host: str, port: int) -> None:
        """ConfigError when the port cannot be had."""
        super().__init__(teachers)
        self._humans: Sequence[HumanTeacher] = tuple(teachers.values())
        self._pressed = self._humans[0]
        self.page: HumanPage = HumanPage(self, host, port)

    @property
    def n_classes(self) -> int:
        """Of the kind with the most: so many buttons a joystick needs."""
        return max(human.n_classes for human in self._humans)

    def state(self) -> dict[str, Any]:
        """As of HumanTeacher, with what changed or was counted anywhere."""
        states = [human.state() for human in self._humans]
        shown = next((state for state in states if state["key"] is not None), states[self._at(self._pressed)])
        pressed = states[self._at(self._pressed)]
        totals = {name: sum(state[name] for state in states) for name in ("serial", "waiting", "rated")}
        return {**shown, **totals, "last": pressed["last"], "can_undo": pressed["can_undo"]}

    def frame(self, key: str, index: int) -> bytes | None:
        """A JPEG of a query that waits or may be taken back; None when there is no such image."""
        found = (human.frame(key, index) for human in self._humans)
        return next((jpeg for jpeg in found if jpeg is not None), None)

    def rate(self, value: int, key: str | None = None) -> bool:
        """Give the query that is shown a class. False: not done."""
        return self._press(lambda human: human.rate(value, key))

    def skip(self, key: str | None = None) -> bool:
        """Abstain: this query gets no label."""
        return self._press(lambda human: human.skip(key))

    def undo(self) -> bool:
        """Take the last press back, unless its round has been handed over."""
        return self._pressed.undo()

    def _press(self, press: Any) -> bool:
        for human in self._humans:
            if human.state()["key"] is not None:  # the one that is shown
                before, self._pressed = self._pressed, human
                if press(human):
                    return True
                self._pressed = before
                return False
        return False

    def _at(self, human: HumanTeacher) -> int:
        return self._humans.index(human)

    def close(self, grace_s: float = 0.0) -> None:
        """As of HumanTeacher."""
        super().close(grace_s)
        self.page.close()
