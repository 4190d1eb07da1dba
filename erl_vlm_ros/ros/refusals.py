# SPDX-License-Identifier: Apache-2.0
"""One bad message never ends a node: what a callback cannot use is logged once per kind, counted, and left behind."""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from erl_vlm_ros.common.errors import ConfigError

#: what a message can cause; any other exception in a callback is the program's fault, and ends the node
_BY_MESSAGE = (ValueError, TypeError, LookupError, ArithmeticError, BufferError, RecursionError)


class InternalError(RuntimeError):
    """Something failed that no message is to blame for: it ends the node."""


@contextmanager
def own_work() -> Iterator[None]:
    """Around what a callback does once its message is accepted. Raises InternalError for what would be forgiven."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if not by_message(error):
            raise
        raise InternalError(f"{type(error).__name__}: {error}") from error


def by_message(error: Exception) -> bool:
    """Whether a message may have caused it. OpenCV's errors are known by name, for not every node loads OpenCV."""
    return isinstance(error, _BY_MESSAGE) or type(error).__module__ == "cv2"


class Refusals:
    """Counts refused messages by topic and kind of error; ``log`` gets the first of each, then each tenfold number."""

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self.counts: Counter[tuple[str, str]] = Counter()
        self.last = ""  # topic of the last one and what was wrong with it

    @property
    def total(self) -> int:
        """Messages refused so far."""
        return sum(self.counts.values())

    def note(self, topic: str, error: Exception) -> None:
        """One message of ``topic`` could not be used."""
        kind = (topic, type(error).__name__)
        self.counts[kind] += 1
        count = self.counts[kind]
        text = " ".join(str(error).split())[:600]
        self.last = f"{topic}: {text[:200]}"
        if not math.log10(count).is_integer():
            return
        again = f" ({count} like this so far)" if count > 1 else ""
        # A ValueError says what is wrong; the others were not foreseen.
        trace = "" if isinstance(error, ValueError) else "\n" + "".join(traceback.format_exception(error))
        self._log(f"{topic}: message refused: {kind[1]}: {text}{again}{trace}")

    def forgiving(self, topic: str, callback: Callable[[Any], Any]) -> Callable[[Any], None]:
        """``callback`` such that a message that it cannot use is noted. ConfigError and faults of our own pass."""

        def receive(message: Any) -> None:
            try:
                callback(message)
            except ConfigError:
                raise  # only a person can fix it
            except Exception as error:
                if not by_message(error):
                    raise
                self.note(topic, error)

        return receive
