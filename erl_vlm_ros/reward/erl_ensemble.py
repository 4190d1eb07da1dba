# SPDX-License-Identifier: Apache-2.0
"""The reward model of ERL-VLM (arXiv 2506.12822): image networks taught by ratings of segments."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.reward.boundaries import EPSILON
from erl_vlm_ros.reward.configs import ErlRewardConfig
from erl_vlm_ros.reward.losses import class_weights, weighted_mean
from erl_vlm_ros.reward.networks import ConvEnsemble
from erl_vlm_ros.reward.objectives import RETURNS, Labels, ObjectiveSettings, make_objective
from erl_vlm_ros.reward.samplers import stratified_batches, uniform_batches

_ADAM_KEYS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class FitReport:
    """What one fit did.

    Attributes:
        passes: passes over the rated set; 0 if there was no order to learn (fewer than two classes rated).
        accuracy: share of ratings that Eq. 1 reproduces while learning in the last pass, mean over members;
            NaN for 0 passes.
        losses: mean loss of each pass (NaN if none of its batches held two classes).
        seconds: wall time.
        counts: rated segments of each class.
        spans: range of each member's raw output over the rated frames, 0 if constant; empty for 0 passes.
    """

    passes: int
    accuracy: float
    losses: tuple[float, ...]
    seconds: float
    counts: tuple[int, ...]
    spans: tuple[float, ...]


class ErlRewardEnsemble:
    """Rewards from images; the ensemble, Adam and the members' scales persist between fits.

    The loss is blind to a member's scale and offset (Eq. 1 scales every batch to [0, 1]), so members are
    brought to [0, 1] over the rated frames before they are averaged, unless `config.raw_average`.

    Args:
        config: see `ErlRewardConfig`.
        seed: of the initial weights.
        objective: what a label costs, by name; empty: Eq. 1 with the loss of the configuration.
    """

    def __init__(self, config: ErlRewardConfig, seed: int, objective: str = "") -> None:
        self.config = config
        settings = ObjectiveSettings(config.n_classes, config.boundary, config.k, config.label_smoothing)
        self.objective = make_objective(objective or f"erl_{config.loss}", settings, RETURNS)
        self.networks = ConvEnsemble(config.ensemble, config.image_size, torch.Generator().manual_seed(seed))
        self.optimiser = torch.optim.Adam(self.networks.parameters(), lr=config.lr, fused=True)
        self.offsets = np.zeros(config.ensemble, np.float32)
        self.scales = np.ones(config.ensemble, np.float32)

    @property
    def image_size(self) -> int:
        """Side of the images that the model takes, pixels."""
        return self.config.image_size

    def fit(
        self,
        images: np.ndarray,
        ratings: np.ndarray,
        generator: np.random.Generator,
        soft: np.ndarray | None = None,
    ) -> FitReport:
        """Learn from the whole rated set: up to `passes` passes, ended early by training accuracy.

        Args:
            images: frames of the rated segments u8 [M, H, s, s, 3]; a segment's return is the sum over its H
                frames.
            ratings: class of each segment, int [M] in 0 .. n_classes - 1 (leave out what has no rating).
            generator: draws the batches.
            soft: soft labels float32 [M, n], the targets of Eq. 2 and 3 in place of the ratings' one-hots;
                boundaries, weights and batches go by the ratings.

        Raises:
            ConfigError: images or ratings that do not fit the configuration.
        """
        started = time.perf_counter()
        images, ratings = self._check_rated(images, ratings)
        counts = np.bincount(ratings, minlength=self.config.n_classes)
        losses: list[float] = []
        accuracy = float("nan")
        if np.count_nonzero(counts) > 1:
            frames, classes = _tensor(images), torch.from_numpy(ratings)
            soft_ = None if soft is None else torch.from_numpy(self._check_soft(soft, len(ratings)))
            labels = Labels(classes, soft_)
            weights = class_weights(counts)[classes] if self.config.class_weights else None
            while len(losses) < self.config.passes and not accuracy > self.config.early_stop_accuracy:
                loss, accuracy = self._one_pass(frames, labels, weights, generator)
                losses.append(loss)
            self.set_reference(images.reshape(-1, *images.shape[2:]))
        seconds = time.perf_counter() - started
        spans = tuple(float(1.0 / scale) if scale > 0 else 0.0 for scale in self.scales) if losses else ()
        return FitReport(len(losses), accuracy, tuple(losses), seconds, tuple(int(c) for c in counts), spans)

    def _one_pass(
        self,
        frames: Tensor,
        labels: Labels,
        weights: Tensor | None,
        generator: np.random.Generator,
    ) -> tuple[float, float]:
        """Mean loss and mean accuracy of one pass; every member sees its own batches."""
        deal = stratified_batches if self.config.stratified else uniform_batches
        members = range(self.config.ensemble)
        plans = [deal(labels.classes.numpy(), self.config.batch_size, generator) for _ in members]
        losses, right, judged = [], 0, 0
        for batches in zip(*plans):
            self.optimiser.zero_grad(set_to_none=True)
            for member, indices in zip(members, batches):
                index = torch.from_numpy(indices)
                batch = labels[index]
                if bool((batch.classes == batch.classes[0]).all()):
                    continue  # one class only: no order to learn, Eq. 1 would just push the extremes inwards
                sample_weights = None if weights is None else weights[index]
                loss, hits = self._batch_loss(member, frames[index], batch, sample_weights)
                loss.backward()
                losses.append(float(loss.detach()))
                right += hits
                judged += len(indices)
            self.optimiser.step()
        if not judged:
            return float("nan"), float("nan")
        return float(np.mean(losses)), right / judged

    def _batch_loss(self, member: int, frames: Tensor, labels: Labels, weights: Tensor | None) -> tuple[Tensor, int]:
        """Loss of one member on one batch of segments, and how many of its labels the objective reproduces."""
        returns = self.networks(frames.flatten(0, 1), member).unflatten(0, frames.shape[:2]).sum(dim=1)
        loss = weighted_mean(self.objective.terms(returns, labels), weights)
        # Equal returns order nothing; counted as right, they would end the fit of a constant network early.
        ordered = float(returns.detach().amax() - returns.detach().amin()) > EPSILON
        return loss, int((self.objective.answers(returns.detach(), labels) == labels.classes).sum()) if ordered else 0

    def set_reference(self, images: np.ndarray) -> None:
        """Bring every member's output to [0, 1] over these images u8 [N, s, s, 3] (fit uses its own)."""
        raw = self.raw_members(images)
        low, high = raw.min(axis=1), raw.max(axis=1)
        span = high - low
        alive = span > EPSILON
        self.offsets = low
        self.scales = np.where(alive, 1.0 / np.where(alive, span, 1.0), 0.0).astype(np.float32)

    def raw_members(self, images: np.ndarray, batch: int = 512) -> np.ndarray:
        """Outputs of the networks f32 [E, N], in (-1, 1), for images u8 [N, s, s, 3]."""
        self._check_images(images, 4)
        frames = _tensor(images)
        rewards = torch.empty(self.config.ensemble, len(frames))
        with torch.inference_mode():
            for first in range(0, len(frames), batch):
                part = frames[first : first + batch]
                for member in range(self.config.ensemble):
                    rewards[member, first : first + batch] = self.networks(part, member)
        return rewards.numpy()

    def predict_members(self, images: np.ndarray, batch: int = 512) -> np.ndarray:
        """Rewards of each member f32 [E, N], on one scale (or as they are, with `raw_average`)."""
        raw = self.raw_members(images, batch)
        if self.config.raw_average:
            return raw
        return (raw - self.offsets[:, None]) * self.scales[:, None]

    def predict(self, images: np.ndarray, batch: int = 512) -> np.ndarray:
        """Rewards f32 [N] for images u8 [N, s, s, 3]: mean over members, less those that say nothing."""
        members = self.predict_members(images, batch)
        alive = self.scales > 0
        if not self.config.raw_average and alive.any():
            members = members[alive]
        return members.mean(axis=0)

    def state_dict(self) -> dict[str, Any]:
        """Networks, Adam's state and scales, as nested dicts of tensors."""
        adam = {}
        for name, parameter in self.networks.named_parameters():
            held = self.optimiser.state.get(parameter)
            if held:
                adam[name] = {key: held[key].clone() for key in _ADAM_KEYS}
        networks = {name: value.detach().clone() for name, value in self.networks.state_dict().items()}
        scales = {
            "offsets": torch.from_numpy(self.offsets.copy()),
            "scales": torch.from_numpy(self.scales.copy()),
        }
        return {"networks": networks, "adam": adam, **scales}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken; the configuration must be the same."""
        self.networks.load_state_dict(state["networks"])
        self.optimiser.state.clear()
        for name, parameter in self.networks.named_parameters():
            if name in state["adam"]:
                held = state["adam"][name]
                self.optimiser.state[parameter] = {key: torch.as_tensor(held[key]).clone() for key in _ADAM_KEYS}
        self.offsets = np.array(state["offsets"], np.float32)
        self.scales = np.array(state["scales"], np.float32)

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Weights and scales as float32 arrays, the configuration as JSON values: enough to predict."""
        arrays = {name: value.detach().numpy().copy() for name, value in self.networks.state_dict().items()}
        arrays["offsets"], arrays["scales"] = self.offsets.copy(), self.scales.copy()
        return arrays, {"config": asdict(self.config)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> ErlRewardEnsemble:
        """The model published by `to_arrays`; Adam starts afresh.

        Raises:
            ConfigError: a name is missing or unknown, a shape wrong, a number not finite.
        """
        known = {field.name for field in fields(ErlRewardConfig)}
        given = dict(meta.get("config") or {})
        if set(given) != known:
            text = f"reward model: configuration keys {sorted(set(given) ^ known)} are missing or unknown"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"config.{min(set(given) ^ known)}")
        model = cls(ErlRewardConfig(**given), seed=0)
        expected = {**model.networks.state_dict(), "offsets": model.offsets, "scales": model.scales}
        if set(arrays) != set(expected):
            text = f"reward model: arrays {sorted(set(arrays) ^ set(expected))} are missing or unknown"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"arrays.{min(set(arrays) ^ set(expected))}")
        for name, array in arrays.items():
            shape = tuple(expected[name].shape)
            if array.shape != shape or not np.isfinite(array).all():
                text = f"reward model: {name} has shape {array.shape}, must be {shape} and hold finite numbers"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"arrays.{name}")
        weights = {name: torch.from_numpy(np.array(arrays[name], np.float32)) for name in model.networks.state_dict()}
        model.networks.load_state_dict(weights)
        model.offsets = np.array(arrays["offsets"], np.float32)
        model.scales = np.array(arrays["scales"], np.float32)
        return model

    def _check_images(self, images: np.ndarray, ndim: int) -> None:
        side = self.config.image_size
        if images.dtype != np.uint8 or images.ndim != ndim or images.shape[-3:] != (side, side, 3):
            wanted = f"uint8 [{'N' if ndim == 4 else 'M, H'}, {side}, {side}, 3]"
            text = f"reward model: images are {images.dtype} {list(images.shape)}, must be {wanted}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="images")

    def _check_soft(self, soft: np.ndarray, count: int) -> np.ndarray:
        soft = np.ascontiguousarray(soft, np.float32)
        if soft.shape != (count, self.config.n_classes) or not np.isfinite(soft).all() or (soft < 0).any():
            wanted = f"[{count}, {self.config.n_classes}], finite and not negative"
            text = f"reward model: soft labels {list(soft.shape)} must be {wanted}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="soft")
        return soft

    def _check_rated(self, images: np.ndarray, ratings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._check_images(images, 5)
        ratings = np.asarray(ratings)
        if ratings.size and not np.issubdtype(ratings.dtype, np.integer):
            text = f"reward model: ratings are {ratings.dtype}, must be whole numbers"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="ratings.dtype")
        ratings = ratings.astype(np.int64)
        if ratings.shape != images.shape[:1] or images.shape[1] < 1:
            text = f"reward model: {list(ratings.shape)} ratings for segments {list(images.shape[:2])}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="ratings")
        if ratings.size and not (ratings.min() >= 0 and ratings.max() < self.config.n_classes):
            top = self.config.n_classes - 1
            raise ConfigError(
                f"reward model: ratings span {ratings.min()}..{ratings.max()}, must be 0..{top}", parameter="ratings"
            )
        return images, ratings


def _tensor(images: np.ndarray) -> Tensor:
    """Share the memory where torch can: read-only arrays (views of received bytes) are copied."""
    return torch.from_numpy(np.require(images, requirements=("C", "W")))
