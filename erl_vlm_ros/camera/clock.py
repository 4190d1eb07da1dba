# SPDX-License-Identifier: Apache-2.0
"""When an image was taken: times of a device's own clock, or of a stream, on the clock of this machine."""

from __future__ import annotations

import statistics
from collections import deque

from erl_vlm_ros.camera.frame import NS

WINDOW_NS = 10 * NS
_TRUST_NS = NS  # how much must have been seen before the device's clock is believed
_JUMP_NS = 2 * NS
_DRIFT = 0.02  # share by which a clock may run wrong; a stream with invented times is far beyond


class ClockMapper:
    """Maps device times to system times.

    A frame arrives some delay after its device time, and never earlier than the smallest delay. So the smallest
    difference (arrival - device time) of the last ``WINDOW_NS`` is taken as the offset between the clocks: the result
    keeps the device's even spacing, and a frame that was held up gets its true, older time. What remains is the
    smallest delay itself. A device clock that jumps, or drifts by more than 2 %, is not believed: arrival is taken.
    """

    def __init__(self, sure: bool = False):
        """``sure``: believe the device's clock from the first frame on (a recording's)."""
        self._sure = sure
        self._seen: deque[tuple[int, int]] = deque()  # arrival, arrival - device time
        self._last_device_ns = 0

    def map(self, device_ns: int, arrival_ns: int) -> int:
        """System time in ns at which the frame with ``device_ns`` was taken."""
        offset = arrival_ns - device_ns
        if self._seen:
            arrival, before = self._seen[-1]
            set_anew = device_ns < self._last_device_ns or offset < before - _JUMP_NS
            if set_anew or not 0 <= arrival_ns - arrival < WINDOW_NS:
                self._seen.clear()
        self._last_device_ns = device_ns
        self._seen.append((arrival_ns, offset))
        while arrival_ns - self._seen[0][0] > WINDOW_NS:
            self._seen.popleft()
        if not (self._sure or self._believable()):
            return arrival_ns
        return device_ns + min(offset for _, offset in self._seen)

    def _believable(self) -> bool:
        begin, end = self._seen[0][0], self._seen[-1][0]
        if end - begin < _TRUST_NS:
            return False
        middle = (begin + end) // 2
        early = min(offset for arrival, offset in self._seen if arrival <= middle)
        late = min(offset for arrival, offset in self._seen if arrival >= middle)
        return abs(late - early) <= _DRIFT * (end - begin)


class Backlog:
    """Tells live frames from those that a network had held up, where only the arrival is known.

    After a pause, frames that were queued come in a burst. A frame that the reader had to wait for is live; until
    one comes, all frames after a pause count as old. The usual interval is learned from the live frames.
    """

    PAUSE, BURST = 3.0, 0.5  # of the usual interval
    _LEARN = 5  # intervals before anything is judged
    _QUEUED_NS = 2_000_000  # no camera is that fast: the frame lay in a queue, its interval says nothing

    def __init__(self) -> None:
        self._intervals: deque[int] = deque(maxlen=31)
        self._last = 0
        self._catching_up = False

    def is_old(self, arrival_ns: int) -> bool:
        """Whether the frame that arrived now had been held up."""
        gap, self._last = arrival_ns - self._last, arrival_ns
        if gap == arrival_ns:  # the first one
            return False
        if len(self._intervals) >= self._LEARN:
            usual = statistics.median(self._intervals)
            if gap > self.PAUSE * usual:
                self._catching_up = True  # it may be the oldest of a queue: one frame is the price
                self._intervals.append(gap)  # or the camera has become slower
                return True
            self._catching_up = self._catching_up and gap <= self.BURST * usual
        if not self._catching_up and gap > self._QUEUED_NS:
            self._intervals.append(gap)
        return self._catching_up
