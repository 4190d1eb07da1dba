# SPDX-License-Identifier: Apache-2.0
"""The valid labels of one kind that a reward model is trained on, with their images and proprioception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.query import Label, LabelBatch, soft_label
from erl_vlm_ros.data.views import decode_views
from erl_vlm_ros.reward.models.base import LabelSet


class KeptLabels:
    """Labels of ``segments`` segments each, of ``n_classes`` classes; images of ``side`` pixels, P = ``prop_dim``.

    images: uint8 [M, H, s, s, 3]; proprio: float32 [M, H, P]; classes: int64 [M]; soft: float32 [M, n]; audited: bool
    [M]. Of two segments the frames of the first stand before those of the second.
    """

    def __init__(self, segments: int, n_classes: int, side: int, prop_dim: int) -> None:
        self.segments, self.n_classes = segments, n_classes
        self.images = np.zeros((0, 1, side, side, 3), np.uint8)
        self.proprio = np.zeros((0, 1, prop_dim), np.float32)
        self.classes = np.zeros(0, np.int64)
        self.soft = np.zeros((0, n_classes), np.float32)  # one-hot where none was given
        self.audited = np.zeros(0, bool)  # labels of the auditor

    def __len__(self) -> int:
        return len(self.classes)

    def require_classes(self, batch: LabelBatch) -> None:
        """DataError: labels of another number of classes."""
        if batch.n_classes != self.n_classes:
            what = "reward_trainer.n_classes is" if self.segments == 1 else "this run's comparisons have"
            text = f"{batch.kind}s have {batch.n_classes} classes, {what} {self.n_classes}"
            raise DataError(text, field="n_classes")

    def lessons(self, batch: LabelBatch) -> list[Label]:
        """Those that say something: of a comparison, which one is better."""
        told = [label for label in batch.labels if label.value >= 0]
        return told if self.segments == 1 else [label for label in told if label.value < self.segments]

    def require(self, labels: Sequence[Label]) -> None:
        """DataError: segments of another length or size than before."""
        first = labels[0].query[0]
        length, before = len(first.jpegs), self.images.shape[1] // self.segments
        if len(self) and length != before:
            raise DataError(
                f"segments have {length} frames, those rated before {before}: segment_length must not change in a run",
                field="segment_length",
            )
        if first.proprio.shape[1] != self.proprio.shape[2]:
            raise DataError(
                f"segments have {first.proprio.shape[1]} numbers of proprioception, "
                f"this run has {self.proprio.shape[2]}",
                field="prop_dim",
            )

    def decoded(
        self, labels: Sequence[Label], cameras: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(images, proprio, classes, soft, audited) of labels, as held here. ValueError: a frame cannot be read."""
        return (
            np.stack([decode_views(r.query.jpegs, self.images.shape[3], cameras) for r in labels]),
            np.stack([np.concatenate([s.proprio for s in r.query]) for r in labels]).astype(np.float32),
            np.array([r.value for r in labels], np.int64),
            np.stack([soft_label(r, self.n_classes) for r in labels]),
            np.array([r.audited for r in labels], bool),
        )

    def add(self, images, proprio, classes, soft, audited) -> None:
        """Keep what ``decoded`` gave."""
        if len(self) == 0:
            self.images, self.proprio = images, proprio
        else:
            self.images = np.concatenate([self.images, images])
            self.proprio = np.concatenate([self.proprio, proprio])
        self.classes = np.concatenate([self.classes, classes])
        self.soft = np.concatenate([self.soft, soft])
        self.audited = np.concatenate([self.audited, audited])

    def counts(self) -> np.ndarray:
        """Labels of each class, int64 [n]."""
        return np.bincount(self.classes, minlength=self.n_classes)

    def label_set(self) -> LabelSet:
        """All of them."""
        return LabelSet(self.images, self.proprio, self.classes, self.soft, self.audited, self.segments)

    def state_dict(self) -> dict[str, Any]:
        """Arrays by name; the classes are called ratings, as ever."""
        return {
            "images": self.images, "proprio": self.proprio, "ratings": self.classes, "soft": self.soft,
            "audited": self.audited,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what state_dict gave."""
        self.images, self.proprio = np.array(state["images"]), np.array(state["proprio"])
        self.classes = np.array(state["ratings"])
        hard = np.eye(self.n_classes, dtype=np.float32)[self.classes]
        self.soft = np.array(state.get("soft", hard), np.float32)  # checkpoints of version 0.1 have none
        self.audited = np.array(state.get("audited", np.zeros(len(self.classes))), bool)
