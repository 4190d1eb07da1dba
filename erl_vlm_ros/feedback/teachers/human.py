# SPDX-License-Identifier: Apache-2.0
"""A person as the teacher: a queue of queries, one key press each, the last ones may be taken back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import NO_LABEL
from erl_vlm_ros.data.views import view, views
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.teacher_configs import HumanConfig
from erl_vlm_ros.feedback.teachers.base import QuerywiseTeacher, Round
from erl_vlm_ros.feedback.teachers.human_page import HumanPage
from erl_vlm_ros.feedback.teachers.record import Outcome, Record
from erl_vlm_ros.monitoring.side_by_side import shown

SKIPPED = "skipped"
AHEAD = 3  # queries whose images the page may load in advance


class HumanTeacher(QuerywiseTeacher):
    """Keeps what is to be rated and takes presses; the page and a joystick only pass input on to it.

    A press names the query that it was meant for by its key, so that a late one does not hit the next query.
    Each rating is on disk before the press returns; what was rated before a restart is not asked again.
    """

    def __init__(
        self,
        config: HumanConfig,
        task: Task,
        n_classes: int,
        record: Record | None,
        kind: FeedbackKind = RATING,
        cameras: Sequence[str] = (),
    ) -> None:
        """``cameras``: whose images are shown, side by side; none: the first's alone."""
        classes = kind.classes(task, n_classes)
        super().__init__("human", [c.name for c in classes], kind, config.round_timeout_s)
        self.task, self.config, self._record, self._cameras = task, config, record, tuple(cameras)
        self._descriptions = [c.description for c in classes]
        self._given: list[tuple[Round, int]] = []  # in the order given, newest last
        self._kept_open: dict[int, threading.Timer] = {}  # id of a complete round -> hands it over after undo_s
        self.page: HumanPage | None = None
        self._serial = 0  # changes with everything that happens
        self._last = ""

    def serve(self) -> str:
        """Open the page; its address. ConfigError when the port cannot be had."""
        self.page = HumanPage(self, self.config.host, self.config.port)
        return self.page.url

    # -- what the page shows

    def state(self) -> dict[str, Any]:
        """What is to be rated now, as JSON types; ``key`` is None when nothing waits."""
        with self._lock:
            waiting = self._waiting()
            under_way = sum(o is not None and o[0] != NO_LABEL for r in self._rounds for o in r.outcomes)
            out: dict[str, Any] = {
                "serial": self._serial,
                "instruction": self.task.instruction,
                "focus": self.task.focus,
                "classes": [{"name": n, "description": d} for n, d in zip(self.class_names, self._descriptions)],
                "waiting": len(waiting),
                "rated": self._counts["valid"] + under_way,
                "last": self._last,
                "can_undo": bool(self._given),
                "key": None,
                "ahead": [self._key(*entry) for entry in waiting[1 : 1 + AHEAD]],
            }
            if waiting:
                here, index = waiting[0]
                query = here.queries[index]
                out |= {
                    "instruction": query[0].instruction or self.task.instruction,
                    "key": self._key(here, index),
                    "round": here.number,
                    "index": sum(o is not None for o in here.outcomes) + 1,
                    "count": len(here.queries),
                    "frames": len(query.jpegs),
                    "segments": [len(segment.jpegs) for segment in query],
                    "captions": list(self.kind.captions),
                    "notes": self.kind.notes(query),
                }
            return out

    def frame(self, key: str, index: int) -> bytes | None:
        """A JPEG of a query that waits or may be taken back; None when there is no such image."""
        with self._lock:
            for here, i in [*self._waiting()[: 1 + AHEAD], *self._given[-1:]]:
                if self._key(here, i) == key and 0 <= index < len(here.queries[i].jpegs):
                    return self._shown(here.queries[i].jpegs[index])
        return None

    def _shown(self, frame: bytes) -> bytes:
        """One moment as JPEG."""
        if len(self._cameras) < 2:
            return view(frame, self._cameras[0] if self._cameras else "")
        return encode_jpeg(shown(views(frame, self._cameras)))

    # -- presses

    def rate(self, value: int, key: str | None = None) -> bool:
        """Give the query that is shown (or, if it is still shown, ``key``) a class. False: not done."""
        return 0 <= value < self.n_classes and self._give(value, "", key)

    def skip(self, key: str | None = None) -> bool:
        """Abstain: this query gets no label."""
        return self._give(NO_LABEL, SKIPPED, key)

    def undo(self) -> bool:
        """Take the last rating or abstention back, unless its round has been handed over."""
        with self._lock:
            if not self._given:
                return False
            here, index = self._given.pop()
            here.outcomes[index] = None
            timer = self._kept_open.pop(id(here), None)
            if timer is not None:
                timer.cancel()
            self._serial += 1
            self._last = "taken back"
        return True

    def _give(self, value: int, reason: str, key: str | None) -> bool:
        with self._lock:
            waiting = self._waiting()
            if not waiting or (key is not None and key != self._key(*waiting[0])):
                return False
            here, index = waiting[0]
            if self._record is not None:
                self._record.add(here.number, [Outcome(here.queries[index], value, reason)])
            self._answer(here, index, value, reason)
            self._given.append((here, index))
            self._serial += 1
            self._last = reason if value == NO_LABEL else self.kind.text(value, self.class_names)
            if here.complete and self.config.undo_s > 0:
                timer = threading.Timer(self.config.undo_s, self._hand_over, [here])
                timer.daemon = True
                self._kept_open[id(here)] = timer
                timer.start()
        self._finish(here)
        return True

    # -- rounds

    def _begin(self, here: Round) -> None:
        for index, query in enumerate(here.queries):
            known = None if self._record is None else self._record.known(query, here.number)
            if known is not None:
                self._answer(here, index, *known)
        self._serial += 1

    def _may_finish(self, here: Round) -> bool:
        if id(here) in self._kept_open:
            return False
        self._given = [entry for entry in self._given if entry[0] is not here]
        self._serial += 1
        return True

    def _hand_over(self, here: Round) -> None:
        with self._lock:
            self._kept_open.pop(id(here), None)
        self._finish(here)

    def _waiting(self) -> list[tuple[Round, int]]:
        return [(r, i) for r in self._rounds for i, outcome in enumerate(r.outcomes) if outcome is None]

    @staticmethod
    def _key(here: Round, index: int) -> str:
        return f"{here.number}.{index}.{here.queries[index].id}"

    def stats(self) -> dict[str, float]:
        """As the others, with those who wait to be handed over counted as under way."""
        return super().stats() | {"human": 1.0}

    def close(self, grace_s: float = 0.0) -> None:
        """Hand complete rounds over, cancel the others: nobody presses keys within a moment of grace."""
        with self._lock:
            complete = [here for here in self._rounds if here.complete]
            for timer in self._kept_open.values():
                timer.cancel()
            self._kept_open.clear()
        for here in complete:
            self._finish(here)
        super().close()
        if self.page is not None:
            self.page.close()
            self.page = None
