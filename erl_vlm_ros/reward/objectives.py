# SPDX-License-Identifier: Apache-2.0
"""What a label costs, apart from the model that it trains: an objective takes a model's outputs and the labels.

A model says which outputs it gives: LOGITS, the classes' scores of each query, or RETURNS, one number for each segment
(the sum of its frames' rewards). An objective says which it takes, and how many segments the queries have whose labels
it learns from: one, whose classes are levels, worst first; or two that were compared, with returns [..., B, 2].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.reward.boundaries import class_boundaries, class_logits, min_max, rate
from erl_vlm_ros.reward.losses import TERMS, rating_targets

LOGITS, RETURNS = "logits", "returns"


@dataclass(frozen=True)
class Labels:
    """Labels of queries, for a loss: ``classes`` int64 [..., B].

    soft: float32 [..., B, n], in their place where ensembles voted; None: all on the classes.
    noise: float32 [..., B], share of such labels that is assumed wrong; None: none.
    """

    classes: Tensor
    soft: Tensor | None = None
    noise: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """The soft labels, or else the classes."""
        return self.classes if self.soft is None else self.soft

    def for_each(self, members: int) -> Labels:
        """The same for each member of an ensemble: [members, ..., B]."""
        soft = None if self.soft is None else self.soft.expand(members, *self.soft.shape)
        return Labels(self.classes.expand(members, *self.classes.shape), soft, self.noise)

    def __getitem__(self, index: Any) -> Labels:
        """Those at ``index``."""
        parts = (self.classes, self.soft, self.noise)
        return Labels(*(None if part is None else part[index] for part in parts))


class Objective(Protocol):
    """What labels cost. ``segments``: of their queries; ``outputs``: LOGITS or RETURNS, what a model must give."""

    segments: int
    outputs: str

    def terms(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Loss of each label [..., B], for outputs [..., B, n] (logits) or [..., B] (returns of one segment)."""

    def answers(self, outputs: Tensor, labels: Labels) -> Tensor:
        """The classes int64 [..., B] that these outputs say."""


class ClassLikelihood:
    """Cross-entropy of the label's class; with noise, the likelihood of the label under a rater wrong that often
    (forward correction: Patrini et al. 2017, with errors uniform over the wrong classes)."""

    segments, outputs = 1, LOGITS

    def terms(self, outputs: Tensor, labels: Labels) -> Tensor:
        """[..., B] of logits [..., B, n]; a soft label costs the mean of the classes' losses under it."""
        n, soft, noise = outputs.shape[-1], labels.soft is not None, labels.noise
        log_p = F.log_softmax(outputs, -1)
        if not soft:
            log_p = log_p.gather(-1, labels.classes.unsqueeze(-1)).squeeze(-1)
        if noise is not None and noise.any():
            noise = noise.unsqueeze(-1) if soft else noise
            wrong = noise / (n - 1)
            log_p = torch.log(wrong + (1 - noise - wrong) * log_p.exp())
        return -(labels.soft * log_p).sum(-1) if soft else -log_p

    def answers(self, outputs: Tensor, labels: Labels) -> Tensor:
        """The most probable class."""
        return outputs.argmax(-1)


@dataclass(frozen=True)
class ErlRating:
    """ERL-VLM's Eq. 1: a batch's returns are brought to [0, 1] and cut into n intervals, so that each holds as many of
    them as the labels say; then the distance between the interval's probability and the label (arXiv 2506.12822).

    loss: ``mae`` (Eq. 3) or ``ce`` (Eq. 2, vanilla RbRL). boundary: see ``class_boundaries``. k: sharpness of the
    intervals. smoothing: r of the smoothed targets.
    """

    loss: str
    n_classes: int
    boundary: str = "edge"
    k: float = 30.0
    smoothing: float = 0.0

    segments, outputs = 1, RETURNS

    def terms(self, outputs: Tensor, labels: Labels) -> Tensor:
        """[B] of a batch's returns [B]. The batch is ranked as a whole: one class only teaches no order."""
        targets = rating_targets(labels.targets, self.n_classes, self.smoothing)
        return TERMS[self.loss](self._logits(outputs, labels)[0], targets)

    def answers(self, outputs: Tensor, labels: Labels) -> Tensor:
        """The class whose interval each return lies in."""
        return rate(*self._logits(outputs.detach(), labels))

    def _logits(self, returns: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        """Eq. 1's exponents [B, n], and how many labels each class has [n]."""
        counts = torch.bincount(labels.classes, minlength=self.n_classes)
        scaled = min_max(returns)
        return class_logits(scaled, class_boundaries(scaled, counts, self.boundary), self.k), counts


class BradleyTerry:
    """Which of two segments is preferred: P(second) = sigmoid of the difference of their returns (RL-VLM-F, PEBBLE).

    Labels are 0, the first, or 1, the second. With noise, the likelihood of the label under a teacher that says the
    other one that often: noise + (1 - 2 noise) P.
    """

    segments, outputs = 2, RETURNS

    def terms(self, outputs: Tensor, labels: Labels) -> Tensor:
        """[..., B] of returns [..., B, 2]."""
        difference = outputs[..., 1] - outputs[..., 0]
        signed = torch.where(labels.classes == 1, difference, -difference)
        if labels.noise is None or not labels.noise.any():
            return -F.logsigmoid(signed)
        return -torch.log(labels.noise + (1 - 2 * labels.noise) * torch.sigmoid(signed))

    def answers(self, outputs: Tensor, labels: Labels) -> Tensor:
        """The segment with the higher return."""
        return (outputs[..., 1] > outputs[..., 0]).long()


@dataclass(frozen=True)
class ObjectiveSettings:
    """What a maker of objectives may use: the number of classes, and the settings of Eq. 1."""

    n_classes: int
    boundary: str = "edge"
    k: float = 30.0
    smoothing: float = 0.0


def class_likelihood(settings: ObjectiveSettings) -> Objective:
    """The default model's."""
    return ClassLikelihood()


def erl_mae(settings: ObjectiveSettings) -> Objective:
    """The paper's: Eq. 3."""
    return ErlRating("mae", settings.n_classes, settings.boundary, settings.k, settings.smoothing)


def erl_ce(settings: ObjectiveSettings) -> Objective:
    """Vanilla RbRL's: Eq. 2."""
    return ErlRating("ce", settings.n_classes, settings.boundary, settings.k, settings.smoothing)


def bradley_terry(settings: ObjectiveSettings) -> Objective:
    """RL-VLM-F's, for comparisons."""
    return BradleyTerry()


#: name -> makes it from ObjectiveSettings
OBJECTIVES: Registry = Registry(
    "objective", {name: f"{__name__}:{name}" for name in ("class_likelihood", "erl_mae", "erl_ce", "bradley_terry")}
)


def make_objective(name: str, settings: ObjectiveSettings, outputs: str, segments: int = 1) -> Objective:
    """The objective of that name for a model that gives ``outputs``, and labels of ``segments`` each.

    Raises:
        ConfigError: there is none, or it takes something else.
    """
    objective: Objective = OBJECTIVES.load(name)(settings)
    if objective.outputs != outputs:
        text = (
            f"objective '{name}' takes a model's {objective.outputs}, this reward model gives {outputs}; choose another"
            " objective or reward_model"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="reward_trainer.objective")
    if objective.segments != segments:
        text = (
            f"objective '{name}' learns from labels of {objective.segments} segments, the feedback is about {segments};"
            " choose another objective or feedback"
        )
        raise ConfigError(text, parameter="reward_trainer.objective", code=Code.DOES_NOT_FIT)
    return objective
