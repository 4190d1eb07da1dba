# SPDX-License-Identifier: Apache-2.0
"""How a teacher errs, as a file: written by `erl-vlm check-rater`, loaded by the `scripted` teacher and the stand-in.

Two kinds of error behave differently in learning. *Independent* errors are drawn anew for every question and average
out. *Systematic* errors belong to a view cluster: every view of it is misjudged in the same way, however often
one asks, and a policy moves into the clusters that are overrated. A rating comes about in two steps::

    judged  = truth, or what this view cluster is always taken for        (systematic)
    answer  ~ independent[judged]                                         (independent)

Another wording, crop, mirrored view or model is a *variation* of the question. A cluster that is misjudged in the plain
question is misjudged alike in every variation with probability ``sharing``; otherwise each variation draws its own
misjudged clusters, at the same share.
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

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.yaml_file import dump_yaml, read_yaml

FORMAT, VERSION = "erl_vlm_ros noise model", 1
SHARING = 0.5  # where nothing was measured: see docs/check_rater.md for the reasons
CELL_M = 0.08  # m, edge of the cells that tell view clusters apart
ANY, OVER, UNDER = DIRECTIONS = ("any", "over", "under")  # of errors: to a higher class alone, to a lower one alone


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Errors of one teacher for one number of classes. ConfigError for matrices or shares that make no sense.

    independent: float [n, n], row: class judged, column: class answered; rows sum to 1.
    becomes: float [n, n], row: true class, column: what a misjudged cluster is taken for; rows sum to 1, diagonal 0, or
    1 for a class that is never misjudged.
    systematic_share: share of view clusters that are misjudged. sharing: see the module.
    cell_m: edge in m of the cells of end effector and object that make a view cluster.
    """

    independent: np.ndarray
    systematic_share: float = 0.0
    becomes: np.ndarray | None = None
    sharing: float = SHARING
    cell_m: float = CELL_M
    task: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.independent) if np.ndim(self.independent) == 2 else 0
        object.__setattr__(self, "independent", _matrix(self.independent, "independent", n))
        becomes = _others(n) if self.becomes is None else self.becomes
        object.__setattr__(self, "becomes", _matrix(becomes, "systematic.becomes", n))
        if not np.isin(self.becomes.diagonal(), (0.0, 1.0)).all():
            text = "noise model: systematic.becomes must be 0 on its diagonal, or 1 for a class that is never misjudged"
            raise ConfigError(text, parameter="systematic.becomes")
        for name, value in (("systematic.share", self.systematic_share), ("systematic.sharing", self.sharing)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"noise model: {name} must be from 0 to 1, got {value}", parameter=name)
        if not 0.0 < self.cell_m < math.inf:
            raise ConfigError(
                f"noise model: systematic.cell_m must be a length above 0 in m, got {self.cell_m}",
                parameter="systematic.cell_m",
            )

    @staticmethod
    def uniform(
        n: int, error_rate: float, systematic_share: float = 0.0, sharing: float = SHARING, errors: str = ANY
    ) -> NoiseModel:
        """``error_rate`` of the answers, and ``systematic_share`` of the view clusters, are another class; ``errors``:
        in which direction."""
        if n < 2:
            raise ConfigError(f"noise model: n_classes must be 2 or more, got {n}", parameter="n_classes")
        if not 0.0 <= error_rate <= 1.0:
            raise ConfigError(f"error_rate must be from 0 to 1, got {error_rate}", parameter="error_rate")
        return NoiseModel.of(one_sided(_others(n), errors), error_rate, systematic_share, sharing)

    @staticmethod
    def of(wrong: np.ndarray, error_rate: float, systematic_share: float = 0.0, sharing: float = SHARING) -> NoiseModel:
        """The same, with what a wrong answer says in place of the right one: float [n, n], rows sum to 1."""
        if not 0.0 <= error_rate <= 1.0:
            raise ConfigError(f"error_rate must be from 0 to 1, got {error_rate}", parameter="error_rate")
        independent = (1.0 - error_rate) * np.eye(len(wrong)) + error_rate * wrong
        return NoiseModel(independent, systematic_share, wrong, sharing=sharing)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.independent)

    def judged(self, truth: int, cluster: str, seed: int, variation: str = "") -> int:
        """What a view of class ``truth`` is taken for; depends on nothing but the arguments.

        Args:
            cluster: which view cluster it is, for instance from :func:`view_cluster`.
            variation: empty for the plain question, else a name of the wording, crop, ... or model.
        """
        parts: tuple[object, ...] = (cluster,)
        if variation and chance(seed, "sharing", cluster) >= self.sharing:
            parts = (cluster, variation)
        if chance(seed, "systematic", *parts) >= self.systematic_share:
            return truth
        return _draw(self.becomes[truth], chance(seed, "direction", *parts))

    def answered(self, judged: int, u: float, which: float) -> int:
        """The answer to a view that is taken for class ``judged``, from two uniform draws from [0, 1)."""
        row = self.independent[judged]
        wrong = 1.0 - row[judged]
        if u >= wrong:
            return judged
        others = np.where(np.arange(len(row)) == judged, 0.0, row)
        return _draw(others / others.sum(), which)

    def beliefs(self, judged: int, answered: int, u: float) -> np.ndarray:
        """How probable each class seems to the teacher that gave an answer, float [n], from a uniform draw from [0, 1).

        Calibrated for the independent errors: of the answers that seem right with probability c, a share c is right. c
        is spread evenly over [1 - 2w, 1] with w the share of wrong answers, so right answers seem surer than wrong
        ones; what is systematically misjudged seems as sure as the rest. The other classes have what they err by.
        """
        wrong = min(1.0 - self.independent[judged, judged], 0.5)
        low = 1.0 - 2.0 * wrong
        if answered == judged:  # density proportional to c
            sure = math.sqrt(low**2 + u * (1.0 - low**2))
        else:  # density proportional to 1 - c
            sure = 1.0 - (1.0 - low) * math.sqrt(1.0 - u)
        others = np.where(np.arange(self.n_classes) == answered, 0.0, self.independent[:, answered])
        rest = others / others.sum() if others.sum() else _others(self.n_classes)[answered]
        out = (1.0 - sure) * rest
        out[answered] = sure
        return out

    def rate(self, truth: int, cluster: str, seed: int, rng: np.random.Generator, variation: str = "") -> int:
        """A rating: ``seed`` decides what is systematic, ``rng`` what is drawn anew."""
        return self.answered(self.judged(truth, cluster, seed, variation), rng.random(), rng.random())

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
                "cell_m": float(self.cell_m),
            },
            "provenance": dict(self.provenance),
        }

    def save(self, path: str | Path) -> None:
        """Write YAML, or JSON when the name ends in .json. OSError when it cannot be written."""
        path, content = Path(path), self.to_dict()
        text = json.dumps(content, indent=2) if path.suffix == ".json" else dump_yaml(content, sort_keys=False)
        atomic_write(path, text)

    @staticmethod
    def from_dict(raw: Any, name: str) -> NoiseModel:
        """Inverse of ``to_dict``. ConfigError that begins with ``name`` and tells the field."""
        if not isinstance(raw, Mapping) or raw.get("format") != FORMAT:
            text = f"{name}: not a noise model; erl-vlm check-rater writes one"
            raise ConfigError(text, code=Code.UNREADABLE, parameter="format", file=name)
        if raw.get("version") != VERSION:
            text = f"{name}: version {raw.get('version')!r} of the format, this package reads {VERSION}"
            raise ConfigError(text, code=Code.OTHER_VERSION, parameter="version", file=name)
        try:
            unknown = set(raw) - {"format", "version", "task", "n_classes", "independent", "systematic", "provenance"}
            systematic = _renamed(raw["systematic"])
            unknown |= {f"systematic.{k}" for k in set(systematic) - {"share", "becomes", "sharing", "cell_m"}}
            if unknown:
                text = f"unknown field {', '.join(sorted(map(str, unknown)))}"
                raise ConfigError(text, code=Code.UNKNOWN, parameter=str(min(unknown, key=str)))
            model = NoiseModel(
                np.array(raw["independent"], float), float(systematic["share"]),
                np.array(systematic["becomes"], float), float(systematic["sharing"]), float(systematic["cell_m"]),
                str(raw["task"]), dict(raw.get("provenance") or {}),
            )  # fmt: skip
        except KeyError as error:
            raise ConfigError(
                f"{name}: missing field {error.args[0]}", code=Code.NOT_GIVEN, parameter=str(error.args[0]), file=name
            ) from None
        except ConfigError as error:
            raise error.within(name, file=name) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{name}: a field is not of the right kind ({error})", code=Code.UNREADABLE, file=name
            ) from None
        if raw["n_classes"] != model.n_classes:
            text = f"{name}: n_classes is {raw['n_classes']!r}, the matrices are for {model.n_classes}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="n_classes", file=name)
        return model


def _renamed(systematic: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section of a file as it is now; ``cell_m`` was called ``kind_m`` in the first release."""
    return {"cell_m" if key == "kind_m" else key: value for key, value in systematic.items()}


def load_noise_model(path: str | Path, n_classes: int = 0, task: str = "") -> NoiseModel:
    """Read a noise model (YAML or JSON).

    Args:
        n_classes, task: refuse a model of another number of classes or another task; 0 and "": take any.

    Raises:
        ConfigError: no such file, not a noise model, a field wrong or missing; names file and field.
    """
    path = Path(path)
    raw, _ = read_yaml(path, f"noise model {path}")
    model = NoiseModel.from_dict(raw, str(path))
    if n_classes and model.n_classes != n_classes:
        text = f"{path}: it is for {model.n_classes} classes, {n_classes} are rated with"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="n_classes", file=str(path))
    if task and model.task and model.task != task:
        text = f"{path}: it is for task '{model.task}', not '{task}'"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task", file=str(path))
    return model


def one_sided(wrong: np.ndarray, errors: str) -> np.ndarray:
    """What wrong answers say, float [n, n], with the errors of one direction alone.

    A class that has no other in that direction (``over``: the top one) is never taken for another: 1 on the diagonal.

    Raises:
        ConfigError: ``errors`` is none of DIRECTIONS.
    """
    if errors not in DIRECTIONS:
        raise ConfigError(f"errors: '{errors}' is none of {', '.join(DIRECTIONS)}", parameter="errors")
    if errors == ANY:
        return wrong
    kept = np.triu(wrong, 1) if errors == OVER else np.tril(wrong, -1)
    sums = kept.sum(1, keepdims=True)
    return np.where(sums > 0, kept / np.where(sums > 0, sums, 1.0), np.eye(len(wrong)))


def view_cluster(position: Sequence[float], *more: object, cell_m: float = CELL_M) -> str:
    """Name of a view cluster: the end effector's cell and whatever else tells clusters apart (class, object's cell).

    Args:
        position: of the end effector in m, base frame, any number of coordinates.
    """
    return str([math.floor(float(v) / cell_m) for v in position] + [str(m) for m in more])


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but ``parts``: the same question gets the same draw."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def _draw(row: np.ndarray, u: float) -> int:
    """A class by its share in ``row`` [n], for the uniform draw ``u``. Rows that differ little give the same class for
    the same ``u``: views of a misjudged cluster that differ in their true class are still taken for the same thing."""
    index = int(np.searchsorted(np.cumsum(row), u, side="right"))
    return min(index, int(np.flatnonzero(row)[-1]))


def _others(n: int) -> np.ndarray:
    return (1.0 - np.eye(n)) / max(n - 1, 1)


def _matrix(value: Any, name: str, n: int) -> np.ndarray:
    matrix = np.array(value, float)
    if n < 2 or matrix.shape != (n, n):
        raise ConfigError(
            f"noise model: {name} must be a square matrix, a row and a column for each class", parameter=name
        )
    sums = matrix.sum(1)
    if not (matrix >= 0).all() or not np.allclose(sums, 1.0, atol=1e-4):
        raise ConfigError(f"noise model: each row of {name} must hold shares >= 0 that sum to 1", parameter=name)
    return matrix / sums[:, None]
