# SPDX-License-Identifier: Apache-2.0
"""Fitting a drawn model to what is seen: least squares on the shares of each label in coarse fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

_DAMPING = (0.003, 0.3, 10.0)
_ENOUGH = 0.9  # a slope that lowers the loss by less than this was the last one


class Fields:
    """Shares of some labels in ``cells`` x ``cells`` fields: smooth in a model's parameters, unlike pixels.

    Args:
        weight: float32 [h, w], what each pixel counts; 0 where something hides the model.
    """

    def __init__(self, seen: np.ndarray, weight: np.ndarray, labels: Sequence[int], cells: int) -> None:
        self._weight, self._labels, self._cells = weight, labels, cells
        self._target = self.of(seen)

    def of(self, image: np.ndarray) -> np.ndarray:
        """Float32 [labels * cells^2] of a label image."""
        size = (self._cells, self._cells)
        parts = [cv2.resize((image == k) * self._weight, size, interpolation=cv2.INTER_AREA) for k in self._labels]
        return np.concatenate(parts).ravel()

    def error(self, image: np.ndarray) -> np.ndarray:
        """What the image has more than what was seen."""
        return self.of(image) - self._target


class Model:
    """An image drawn from parameters [P], with what a fit needs to know about them.

    Args:
        draw: parameters -> label image.
        nudge: [P] steps of the finite differences; 0 holds a parameter fixed.
        pull, rest: [P] strength and place of a pull on each parameter.
        low, high: [P] limits.
    """

    def __init__(
        self, draw: Callable[[np.ndarray], np.ndarray], nudge: np.ndarray, pull: np.ndarray, rest: np.ndarray,
        low: np.ndarray, high: np.ndarray,
    ) -> None:  # fmt: skip
        self.draw, self.nudge, self._pull, self._rest, self._low, self._high = (
            draw,
            nudge,
            pull,
            rest,
            low,
            high,
        )
        self.free = np.nonzero(nudge)[0]

    def slope(self, fields: Fields, p: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Derivative [F, free parameters] of the error, by forward differences."""
        columns = []
        for i in self.free:
            nudged = p.copy()
            nudged[i] += self.nudge[i]
            columns.append((fields.error(self.draw(nudged)) - now) / self.nudge[i])
        return np.stack(columns, axis=1)

    def loss(self, p: np.ndarray, error: np.ndarray) -> float:
        """Squared error plus the pull."""
        return float(error @ error + self._pull @ (p - self._rest) ** 2)

    def step(
        self, fields: Fields, p: np.ndarray, now: np.ndarray, slope: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """One Levenberg-Marquardt step, damped until it helps: (parameters, error); None if it never does."""
        gram = np.einsum("fi,fj->ij", slope, slope)  # not BLAS: its threads cost more than they save here
        gram[np.diag_indices_from(gram)] += 1e-6 + self._pull[self.free]
        gradient = np.einsum("fi,f->i", slope, now) + (self._pull * (p - self._rest))[self.free]
        before = self.loss(p, now)
        for damping in _DAMPING:
            change = np.zeros_like(p)
            change[self.free] = -np.linalg.solve(gram + damping * np.diag(np.diag(gram)), gradient)
            trial = np.minimum(np.maximum(p + change, self._low), self._high)
            error = fields.error(self.draw(trial))
            if self.loss(trial, error) < before:
                return trial, error
        return None

    def settle(self, fields: Fields, p: np.ndarray, turns: int) -> tuple[np.ndarray, float]:
        """(parameters, loss) after ``turns`` slopes, each used for two steps, Broyden's update between."""
        now = fields.error(self.draw(p))
        loss = self.loss(p, now)
        for _ in range(turns):
            slope, before = self.slope(fields, p, now), loss
            for last in (False, True):
                moved = self.step(fields, p, now, slope)
                if moved is None:
                    break
                change, gain = (moved[0] - p)[self.free], moved[1] - now
                p, now = moved
                loss = self.loss(p, now)
                if not last:
                    slope = slope + np.outer(gain - slope @ change, change) / max(change @ change, 1e-12)
            if loss > _ENOUGH * before:
                break
        return p, loss
