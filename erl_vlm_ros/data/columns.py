# SPDX-License-Identifier: Apache-2.0
"""Growing arrays for the replay buffer, and torch rows out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class Column:
    """Rows appended at the end and dropped at the front; ``view`` is always one plain slice."""

    def __init__(self, row_shape: tuple[int, ...], dtype: Any) -> None:
        self._data = np.zeros((64, *row_shape), dtype)
        self._start = self._end = 0
        self.view = self._data[:0]

    def append(self, rows: np.ndarray) -> None:
        """Add ``rows`` [n, ...] at the end."""
        live, extra = self._end - self._start, len(rows)
        if self._end + extra > len(self._data):
            target = self._data
            if 2 * (live + extra) > len(target):  # else at least half is free: moving rows down is cheap enough
                target = np.zeros((2 * (live + extra), *target.shape[1:]), target.dtype)
            target[:live] = self.view
            self._data, self._start, self._end = target, 0, live
        self._data[self._end : self._end + extra] = rows
        self._end += extra
        self.view = self._data[self._start : self._end]

    def drop(self, count: int) -> None:
        """Forget the first ``count`` rows."""
        self._start += count
        self.view = self._data[self._start : self._end]


def rows(source: np.ndarray, index: np.ndarray) -> torch.Tensor:
    """float32 copies of the rows of ``source`` at ``index`` int [B], which must be within range."""
    # Memory from torch: its alignment is fixed, and the last bits of a matrix product depend on alignment.
    # mode="clip" only because it spares numpy a buffer; callers pass indices within range.
    out = torch.empty((len(index), *source.shape[1:]))
    source.take(index, 0, out=out.numpy(), mode="clip")
    return out
