# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/questions.py can run: the open questions of ERL-VLM as rows, at the level of the reward (a fixed set
of frames, no policy) and of the policy (whole runs of the one-process loop)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from papers_tables import REWARD_MODELS

ERL = REWARD_MODELS["erl_vlm"]
#: the paper's reward model at our trunk's resolution, one network, enough steps on so few ratings: for the level of the
#: reward, where it is fitted once. ``midpoint``: with ``edge``, as released, many passes make the classes collapse
ONCE = {
    "erl.image_size": 48, "erl.ensemble": 1, "erl.batch_size": 64, "erl.passes": 30, "erl.early_stop_accuracy": 1.0,
    "erl.boundary": "midpoint",
}  # fmt: skip
PLAIN = {"heads.noise": 0.0, "heads.adapt_noise": False}  # all ratings are taken to be right
AUDITS = 0.1  # share of audited ratings


@dataclass(frozen=True)
class Rated:
    """A row at the level of the reward: how frames are rated, and what learns from it.

    n_classes: of the ratings. ratings: how many; rounds: in which they come, each with a fit. error_rate, errors:
    independent errors and their direction. systematic: share of view clusters that are always misjudged. audits: share
    of ratings given again by an auditor. blur: standard deviation of the level that a rater perceives, in rungs of
    five; own_cuts: of the boundaries of its own, drawn once. top: so many frames of the top class and
    no more; None: as drawn. shares: of the classes among the rated; none: as drawn. standin: it rates, and is told
    ``senses`` in the prompt; ``blind``: the gripper hides things from it. reward: parameters of reward_trainer.
    """

    name: str
    text: str
    n_classes: int = 5
    ratings: int = 400
    rounds: int = 1
    error_rate: float = 0.0
    errors: str = "any"
    systematic: float = 0.0
    audits: float = 0.0
    blur: float = 0.0
    own_cuts: float = 0.0
    top: int | None = None
    shares: tuple[float, ...] = ()
    standin: bool = False
    blind: bool = False
    senses: tuple[str, ...] = ()
    reward: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A row at the level of the policy: how the teacher errs in a run of ``steps`` steps. withhold: the first so many
    rounds bring no rating of the top class. For the others see ``Rated``."""

    name: str
    text: str
    steps: int = 8000
    error_rate: float = 0.0
    errors: str = "any"
    systematic: float = 0.0
    audits: float = 0.0
    withhold: int = 0
    n_classes: int = 0
    reward: dict[str, Any] = field(default_factory=dict)


def _both(name: str, text: str, own: dict[str, Any] | None = None, **more: Any) -> list[Rated]:
    """The row with our reward model and with the paper's."""
    return [
        Rated(f"{name}/ours", f"{text}, trunk and heads", reward=own or {}, **more),
        Rated(f"{name}/erl_vlm", f"{text}, the paper's reward model", reward=ERL | ONCE, **more),
    ]


def _classes() -> list[Rated]:
    rows = []
    for n in (2, 3, 4, 5):
        rows += _both(f"written-{n}", f"{n} classes at the written boundaries", n_classes=n, blur=0.5)
        rows += _both(
            f"names-{n}", f"{n} classes at boundaries of the rater's own", n_classes=n, blur=0.5, own_cuts=0.5
        )
    return rows


def _senses() -> list[Rated]:
    common = {"standin": True, "ratings": 150}
    return [
        Rated("sees-all", "a rater that sees the crack", **common),
        Rated("blind", "the gripper hides the crack", blind=True, **common),
        Rated("blind/wrench", "the same, told the force", blind=True, senses=("wrench",), **common),
        Rated("blind/gripper", "the same, told the gripper's opening", blind=True, senses=("gripper",), **common),
        Rated("sees-all/wrench", "a rater that sees the crack, told the force", senses=("wrench",), **common),
    ]


def _bias() -> list[Rated]:
    return [Rated("independent-20", "20% independent errors", error_rate=0.2)] + [
        Rated(f"clusters-{round(100 * share)}{'/audits' if audits else ''}",
              f"{share:.0%} of the clusters misjudged{', a tenth audited' if audits else ''}",
              systematic=share, audits=audits)
        for share in (0.1, 0.2, 0.3) for audits in (0.0, AUDITS)
    ]  # fmt: skip


def _cold_start() -> list[Rated]:
    rows = []
    for top in (0, 2, 5, 20):
        case = {"error_rate": 0.2, "errors": "under", "top": top}
        rows += _both(f"top-{top}", f"{top} frames of the top class", **case)
        text = f"{top} frames of the top class, heads, plain cross-entropy"
        rows.append(Rated(f"top-{top}/ours-ce", text, reward=PLAIN, **case))
    return rows


def _asymmetric() -> list[Rated]:
    models = {
        "ours": ("heads that tell the errors' share", {}),
        "ours-ce": ("heads, plain cross-entropy", PLAIN),
        "mae": ("the paper's Eq. 3", ERL | ONCE),
        "ce": ("the paper's Eq. 2", ERL | ONCE | {"erl.loss": "ce"}),
    }
    cases = [("none", 0.0, "any")]
    cases += [(f"{way}-30", 0.3, way) for way in ("any", "over", "under")]
    return [
        Rated(f"{case}/{model}", f"{rate:.0%} errors, {way}; {text}", error_rate=rate, errors=way, reward=reward,
              rounds=2 if model == "ours" else 1)
        for case, rate, way in cases for model, (text, reward) in models.items()
    ]  # fmt: skip


def _sampling() -> list[Rated]:
    """The paper's imbalance at the beginning of a drawer run: 88, 6 and 6% of the ratings."""
    return [
        Rated(f"{loss}/{name}", f"{loss}, batches of 32, {name}", n_classes=3, error_rate=0.2,
              shares=(0.88, 0.06, 0.06),
              reward=ERL | ONCE | {"erl.loss": loss, "erl.batch_size": 32, "erl.passes": 20,
                                   "erl.stratified": stratified, "erl.class_weights": weights})
        for loss in ("mae", "ce")
        for name, stratified, weights in (("both", True, True), ("stratified", True, False), ("weights", False, True),
                                          ("neither", False, False))
    ]  # fmt: skip


REWARD_TABLES: dict[str, list[Rated]] = {
    "classes": _classes(), "senses": _senses(), "bias": _bias(), "cold_start": _cold_start(),
    "asymmetric": _asymmetric(), "sampling": _sampling(),
}  # fmt: skip

_INDEPENDENT = Run("independent-20", "20% independent errors", error_rate=0.2)
POLICY_TABLES: dict[str, list[Run]] = {
    "bias": [
        _INDEPENDENT,
        Run("clusters-20", "20% of the clusters misjudged", systematic=0.2),
        Run("clusters-20/audits", "20% of the clusters misjudged, a tenth audited", systematic=0.2, audits=AUDITS),
    ],
    "cold_start": [
        _INDEPENDENT,
        Run("withheld-3", "no rating of the top class in 3 rounds", error_rate=0.2, withhold=3),
        Run("withheld-6", "no rating of the top class in 6 rounds", error_rate=0.2, withhold=6),
    ],
    "asymmetric": [
        _INDEPENDENT,
        Run("over-20", "20% errors, too high only", error_rate=0.2, errors="over"),
        Run("under-20", "20% errors, too low only", error_rate=0.2, errors="under"),
    ],
    "classes": [
        Run(f"classes-{n}", f"{n} classes, 20% independent errors", error_rate=0.2, n_classes=n) for n in (2, 3, 4, 5)
    ],
}  # fmt: skip
