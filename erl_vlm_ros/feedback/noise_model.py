# SPDX-License-Identifier: Apache-2.0
"""How a teacher errs, as a file: written by `erl-vlm check-rater`, loaded by the `scripted` teacher and the stand-in.

Two kinds of error behave differently in learning. *Independent* errors are drawn anew for every question and average
out. *Systematic* errors belong to a kind of view: every view of that kind is misjudged in the same way, however often
one asks, and a policy moves into the kinds that are overrated. A rating comes about in two steps::

    judged  = truth, or what this kind of view is always taken for        (systematic)
    answer  ~ independent[judged]                                         (independent)

Another wording, crop, mirrored view or model is a *variation* of the question. A kind that is misjudged in the plain
question is misjudged alike in every variation with probability ``sharing``; otherwise each variation draws its own
misjudged kinds, at the same share.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.rundir import atomic_write

FORMAT, VERSION = "erl_vlm_ros noise model", 1
SHARING = 0.5  # where nothing was measured: see docs/check_rater.md for the reasons
KIND_M = 0.08  # m, edge of the cells that tell kinds of view apart


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Errors of one teacher for one number of classes. ConfigError for matrices or shares that make no sense.

    independent: float [n, n], row: class judged, column: class answered; rows sum to 1.
    becomes: float [n, n], row: true class, column: what a misjudged kind is taken for; rows sum to 1, diagonal 0.
    systematic_share: share of kinds of view that are misjudged. sharing: see the module.
    kind_m: edge in m of the cells of hand and object that make a kind of view.
    """

    independent: np.ndarray
    systematic_share: float = 0.0
    becomes: np.ndarray | None = None
    sharing: float = SHARING
    kind_m: float = KIND_M
    task: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.independent) if np.ndim(self.independent) == 2 else 0
        object.__setattr__(self, "independent", _matrix(self.independent, "independent", n))
        becomes = _others(n) if self.becomes is None else self.becomes
        object.__setattr__(self, "becomes", _matrix(becomes, "systematic.becomes", n))
        if self.becomes.diagonal().any():
            raise ConfigError("noise model: systematic.becomes must be 0 on its diagonal")
        for name, value in (("systematic.share", self.systematic_share), ("systematic.sharing", self.sharing)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"noise model: {name} must be from 0 to 1, got {value}")
        if not 0.0 < self.kind_m < math.inf:
            raise ConfigError(f"noise model: systematic.kind_m must be a length above 0 in m, got {self.kind_m}")

    @staticmethod
    def uniform(n: int, error_rate: float, systematic_share: float = 0.0, sharing: float = SHARING) -> NoiseModel:
        """``error_rate`` of the answers, and ``systematic_share`` of the kinds of view, are another class."""
        if n < 2:
            raise ConfigError(f"noise model: n_classes must be 2 or more, got {n}")
        if not 0.0 <= error_rate <= 1.0:
            raise ConfigError(f"error_rate must be from 0 to 1, got {error_rate}")
        return NoiseModel((1.0 - error_rate) * np.eye(n) + error_rate * _others(n), systematic_share, sharing=sharing)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.independent)

    def judged(self, truth: int, kind: str, seed: int, variation: str = "") -> int:
        """What a view of class ``truth`` is taken for; depends on nothing but the arguments.

        Args:
            kind: which kind of view it is, for instance from :func:`kind_of_view`.
            variation: empty for the plain question, else a name of the wording, crop, ... or model.
        """
        parts: tuple[object, ...] = (kind,)
        if variation and chance(seed, "sharing", kind) >= self.sharing:
            parts = (kind, variation)
        if chance(seed, "systematic", *parts) >= self.systematic_share:
            return truth
        return _draw(self.becomes[truth], chance(seed, "direction", *parts))

    def answered(self, judged: int, luck: float, which: float) -> int:
        """The answer to a view that is taken for class ``judged``, from two numbers in [0, 1)."""
        row = self.independent[judged]
        wrong = 1.0 - row[judged]
        if luck >= wrong:
            return judged
        others = np.where(np.arange(len(row)) == judged, 0.0, row)
        return _draw(others / others.sum(), which)

    def rate(self, truth: int, kind: str, seed: int, rng: np.random.Generator, variation: str = "") -> int:
        """A rating: ``seed`` decides what is systematic, ``rng`` what is drawn anew."""
        return self.answered(self.judged(truth, kind, seed, variation), rng.random(), rng.random())

    def to_dict(self) -> dict[str, Any]:
        """As in the file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "task": self.task,
            "n_classes": self.n_classes,
            "independent": np.round(self.independent, 6).tolist(),
            "systematic": {
                "share": round(float(self.systematic_share), 6),
                "becomes": np.round(self.becomes, 6).tolist(),
                "sharing": round(float(self.sharing), 6),
                "kind_m": float(self.kind_m),
            },
            "provenance": dict(self.provenance),
        }

    def save(self, path: str | Path) -> None:
        """Write YAML, or JSON when the name ends in .json. OSError when it cannot be written."""
        path, content = Path(path), self.to_dict()
        text = json.dumps(content, indent=2) if path.suffix == ".json" else yaml.safe_dump(content, sort_keys=False)
        atomic_write(path, text)

    @staticmethod
    def from_dict(raw: Any, name: str) -> NoiseModel:
        """Inverse of ``to_dict``. ConfigError that begins with ``name`` and tells the field."""
        if not isinstance(raw, Mapping) or raw.get("format") != FORMAT:
            raise ConfigError(f"{name}: not a noise model; erl-vlm check-rater writes one")
        if raw.get("version") != VERSION:
            raise ConfigError(f"{name}: version {raw.get('version')!r} of the format, this package reads {VERSION}")
        try:
            unknown = set(raw) - {"format", "version", "task", "n_classes", "independent", "systematic", "provenance"}
            systematic = raw["systematic"]
            unknown |= {f"systematic.{k}" for k in set(systematic) - {"share", "becomes", "sharing", "kind_m"}}
            if unknown:
                raise ConfigError(f"unknown field {', '.join(sorted(map(str, unknown)))}")
            model = NoiseModel(
                np.array(raw["independent"], float), float(systematic["share"]),
                np.array(systematic["becomes"], float), float(systematic["sharing"]), float(systematic["kind_m"]),
                str(raw["task"]), dict(raw.get("provenance") or {}),
            )  # fmt: skip
        except KeyError as error:
            raise ConfigError(f"{name}: missing field {error.args[0]}") from None
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}: a field is not of the right kind ({error})") from None
        if raw["n_classes"] != model.n_classes:
            raise ConfigError(f"{name}: n_classes is {raw['n_classes']!r}, the matrices are for {model.n_classes}")
        return model


def load_noise_model(path: str | Path, n_classes: int = 0, task: str = "") -> NoiseModel:
    """Read a noise model (YAML or JSON).

    Args:
        n_classes, task: refuse a model of another number of classes or another task; 0 and "": take any.

    Raises:
        ConfigError: no such file, not a noise model, a field wrong or missing; names file and field.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"noise model {path} cannot be read: {error}") from error
    model = NoiseModel.from_dict(raw, str(path))
    if n_classes and model.n_classes != n_classes:
        raise ConfigError(f"{path}: it is for {model.n_classes} classes, {n_classes} are rated with")
    if task and model.task and model.task != task:
        raise ConfigError(f"{path}: it is for task '{model.task}', not '{task}'")
    return model


def kind_of_view(position: Sequence[float], *more: object, cell_m: float = KIND_M) -> str:
    """Name of a kind of view: the hand's cell and whatever else tells kinds apart (class, object's cell).

    Args:
        position: of the hand in m, base frame, any number of coordinates.
    """
    return str([math.floor(float(v) / cell_m) for v in position] + [str(m) for m in more])


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but ``parts``: the same question gets the same luck."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def _draw(row: np.ndarray, luck: float) -> int:
    """A class by its share in ``row`` [n]. Rows that differ little give the same class for the same luck: views of a
    misjudged kind that differ in their true class are still taken for the same thing."""
    index = int(np.searchsorted(np.cumsum(row), luck, side="right"))
    return min(index, int(np.flatnonzero(row)[-1]))


def _others(n: int) -> np.ndarray:
    return (1.0 - np.eye(n)) / max(n - 1, 1)


def _matrix(value: Any, name: str, n: int) -> np.ndarray:
    matrix = np.array(value, float)
    if n < 2 or matrix.shape != (n, n):
        raise ConfigError(f"noise model: {name} must be a square matrix, a row and a column for each class")
    sums = matrix.sum(1)
    if not (matrix >= 0).all() or not np.allclose(sums, 1.0, atol=1e-4):
        raise ConfigError(f"noise model: each row of {name} must hold shares >= 0 that sum to 1")
    return matrix / sums[:, None]
