# SPDX-License-Identifier: Apache-2.0
"""What trainer and learner must know of each other; figures for the charts are not among it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from erl_vlm_ros.data.bundle import BundleError
from erl_vlm_ros.data.views import names_in


def seen_by(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """The cameras that a published reward model sees. BundleError: no list of different names."""
    try:
        return names_in(meta)
    except ValueError as error:
        raise BundleError(f"reward model: {error}") from error


@dataclass(frozen=True)
class RewardModelInfo:
    """Travels with every reward model.

    ``round``: rounds of labels that it has seen. ``requested``: labels asked for in them. ``skill``: share of the
    labels' entropy that it explains on held-out labels. ``assumed_noise``: share of wrong labels that it was trained
    with; ``rating_noise``: the share that it then found; None where the model has no such notion.
    """

    round: int = 0
    requested: int = 0
    skill: float = 1.0
    assumed_noise: float | None = None
    rating_noise: float | None = None

    def to_meta(self) -> dict[str, Any]:
        """For a bundle's meta."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> RewardModelInfo:
        """From the meta of a reward model's bundle; one of version 0.1 has it among its figures.

        Raises:
            BundleError: a number is missing or not of its type.
        """
        if "info" not in meta:
            figures = meta.get("health")
            known = {f.name for f in fields(cls)}
            found = {k: v for k, v in figures.items() if k in known} if isinstance(figures, Mapping) else {}
            counts = {key: int(found[key]) for key in ("round", "requested") if _is_number(found.get(key))}
            return cls(**{**found, **counts})
        info = meta["info"]
        if not isinstance(info, Mapping) or set(info) != {f.name for f in fields(cls)}:
            raise BundleError(
                "reward model: meta.info must have exactly the fields of RewardModelInfo",
                field="reward_model.meta.info",
            )
        for name, value in info.items():
            count, missing = name in ("round", "requested"), value is None and name.endswith("noise")
            if not missing and not (_is_number(value) and (not count or (type(value) is int and value >= 0))):
                raise BundleError(
                    f"reward model: meta.info.{name} is {value!r}, which is not a finite number",
                    field=f"reward_model.meta.info.{name}",
                )
        return cls(**info)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
