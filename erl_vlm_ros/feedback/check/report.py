# SPDX-License-Identifier: Apache-2.0
"""What comes of a rater check: figures, verdict, noise models, curve and report, in one folder."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.feedback.check import stats
from erl_vlm_ros.feedback.check.check import Answers
from erl_vlm_ros.feedback.check.curve import draw_check
from erl_vlm_ros.feedback.check.frames import CheckFrames
from erl_vlm_ros.feedback.check.noise import ErrorSplit, shared_errors, split_errors
from erl_vlm_ros.feedback.check.verdict import Verdict, judge, known, summary
from erl_vlm_ros.feedback.limits.prices import Price
from erl_vlm_ros.feedback.noise_model import SHARING, NoiseModel

REPORT, WORDS, CURVE = "report.json", "report.md", "curve.png"


class CheckReport:
    """Figures of all candidates; ``write`` leaves them in a folder.

    Args:
        prices: model -> price; a model without one has tokens, but no cost.
        full_run: ratings of a whole training run, for the estimate.
    """

    def __init__(
        self,
        frames: CheckFrames,
        answers: Sequence[Answers],
        task: Task,
        prices: dict[str, Price],
        full_run: int,
        seed: int = 0,
    ) -> None:
        self.frames, self.answers, self.task = frames, list(answers), task
        self._prices, self._full_run, self._seed = prices, full_run, seed
        self.clusters = stats.view_clusters(frames.jpegs)
        self.splits: dict[tuple[str, int], ErrorSplit] = {}
        self.rows = [self._figures(a) for a in self.answers]
        self.verdicts: list[Verdict] = [judge(row) for row in self.rows]
        self.between = self._between()

    def _figures(self, a: Answers) -> dict[str, Any]:
        n, valid = a.n, a.ratings >= 0
        shares = stats.histograms(a.ratings, n)
        row: dict[str, Any] = {
            "rater": a.candidate.name, "model": a.candidate.model, "prompts": a.candidate.prompts,
            "variation": a.candidate.variation.name if a.candidate.variation else "", "n": n,
            "answers": int(a.ratings.size), "valid_share": float(valid.mean()), "no_rating": dict(a.reasons),
            "mix": [int((a.ratings == c).sum()) for c in range(n)],
            "repeat_agreement": stats.repeat_agreement(a.ratings, n), "kappa": stats.kappa(a.ratings, n),
            "progress_correlation": stats.progress_correlation(a.ratings, self.frames.trajectory, n),
            "good": self.frames.good, "latency_s": a.latency_s,
            "mean_rating": [round(float(v), 3) if s.sum() else None for v, s in zip(shares @ np.arange(n), shares)],
        }  # fmt: skip
        row |= self._cost(a)
        reference = self.frames.reference.get(n)
        if reference is not None and ((reference >= 0)[None] & valid).any():
            row |= self._against(a, reference)
        return row

    def _against(self, a: Answers, reference: np.ndarray) -> dict[str, Any]:
        n, rng = a.n, np.random.default_rng(self._seed)
        matrix = stats.confusion(reference, a.ratings, n)
        true = matrix.sum(1)
        split = self.splits[a.candidate.name, n] = split_errors(a.ratings, reference, self.clusters, n, rng)
        test = stats.systematic_test(a.ratings, reference, self.clusters, n, rng)
        others = matrix[:-1].sum()
        return {
            "accuracy": stats.accuracy(matrix),
            "base_rate": float(true.max() / true.sum()),
            "information": _information(matrix),
            "confusion": matrix.tolist(),
            "top_recall": float(matrix[-1, -1] / true[-1]) if true[-1] else float("nan"),
            "false_top": float(matrix[:-1, -1].sum() / others) if others else float("nan"),
            "independent_errors": float(1.0 - np.average(split.independent.diagonal(), weights=np.maximum(true, 1e-9))),
            "systematic_share": split.share,
            "systematic_interval": [split.low, split.high],
            "systematic_p": test.p_value,
            "systematic_pairs": test.pairs,
            "systematic_pairs_by_chance": test.expected,
            "like_pairs": test.like_pairs,
        }

    def _cost(self, a: Answers) -> dict[str, Any]:
        if not a.asked:
            return {"tokens_in": None, "tokens_out": None, "cost": None, "full_run_cost": None, "currency": ""}
        tokens_in, tokens_out = a.tokens_in / a.asked, a.tokens_out / a.asked
        row = {"tokens_in": round(tokens_in, 1), "tokens_out": round(tokens_out, 1), "full_run_ratings": self._full_run}
        price = self._prices.get(a.candidate.model)
        if price is None:
            return row | {"cost": None, "full_run_cost": None, "currency": ""}
        one = price.cost(round(tokens_in), round(tokens_out), 1)
        return row | {"cost": one * a.asked, "full_run_cost": one * self._full_run, "currency": price.currency}

    def _between(self) -> list[dict[str, Any]]:
        """Each pair of raters with the same n: how often they agree, and how much of their errors they share."""
        out = []
        for i, a in enumerate(self.answers):
            for b in self.answers[i + 1 :]:
                if a.n != b.n:
                    continue
                mine, other = stats.majority(a.ratings, a.n), stats.majority(b.ratings, b.n)
                both = (mine >= 0) & (other >= 0)
                row: dict[str, Any] = {
                    "n": a.n,
                    "raters": [a.candidate.name, b.candidate.name],
                    "agreement": float((mine[both] == other[both]).mean()) if both.any() else float("nan"),
                }
                splits = self.splits.get((a.candidate.name, a.n)), self.splits.get((b.candidate.name, b.n))
                if all(splits):
                    row["sharing"], row["sharing_from_clusters"] = shared_errors(*splits, a.n)
                out.append(row)
        return out

    def noise_models(self) -> dict[str, NoiseModel]:
        """File name -> noise model of every rater and n with reference labels."""
        out = {}
        for (name, n), split in self.splits.items():
            row = next(r for r in self.rows if r["rater"] == name and r["n"] == n)
            pairs = [b for b in self.between if b["n"] == n and name in b["raters"]]
            measured = [b for b in pairs if b.get("sharing_from_clusters")]
            weights = [b["sharing_from_clusters"] for b in measured]
            sharing = float(np.average([b["sharing"] for b in measured], weights=weights)) if measured else SHARING
            provenance = {
                "made_by": "erl-vlm check-rater", "date": datetime.date.today().isoformat(), "rater": name,
                "model": row["model"], "prompts": row["prompts"], "frames": len(self.frames),
                "source": self.frames.source, "answers": row["answers"], "accuracy": round(row["accuracy"], 4),
                "systematic_p": round(row["systematic_p"], 5),
                "systematic_interval": [round(v, 4) for v in row["systematic_interval"]],
                "sharing": "measured between the raters" if measured else "assumed",
                "cell_m": "assumed",
            }  # fmt: skip
            out[f"noise_{name}_n{n}.yaml"] = NoiseModel(
                split.independent, split.share, split.becomes, sharing, task=self.task.name, provenance=provenance
            )
        return out

    def write(self, folder: Path) -> list[str]:
        """Write everything; returns the lines of the verdict."""
        lines = self.words()
        atomic_write(folder / REPORT, json.dumps(_plain({"raters": self.rows, "between": self.between}), indent=1))
        atomic_write(folder / WORDS, "\n".join(self.markdown()) + "\n")
        for name, model in self.noise_models().items():
            model.save(folder / name)
        draw_check(folder / CURVE, self.frames, self.answers, self.task)
        return lines

    def words(self) -> list[str]:
        """The verdict: one line a rater, then the reasons."""
        rated = [(r["rater"], r["n"], v, r.get("information", float("nan"))) for r, v in zip(self.rows, self.verdicts)]
        lines = summary(rated)
        for name, n, verdict, _ in rated:
            lines.append(f"{name}, n={n}: {verdict.word}")
            lines += [f"  - {reason}" for reason in verdict.reasons]
        return lines

    def markdown(self) -> list[str]:
        """The report as Markdown."""
        out = [f"# Check of raters: {self.task.name}", "", f"{len(self.frames)} frames from {self.frames.source}.", ""]
        out += ["## Verdict", "", *(line if line.startswith("  ") else f"- {line}" for line in self.words()), ""]
        out += ["## Figures", "", _HEAD, "|---" * _HEAD.count(" | ") + "|---|"]
        out += [_line(row) for row in self.rows]
        if self.between:
            out += ["", "## Raters among each other", "", "| raters | n | agree | systematic errors in common |"]
            out += ["|---|---|---|---|"]
            for b in self.between:
                common = _share(b["sharing"]) if b.get("sharing_from_clusters") else "-"
                out.append(f"| {' / '.join(b['raters'])} | {b['n']} | {_share(b['agreement'])} | {common} |")
        for row in self.rows:
            if "confusion" in row:
                names = self.task.class_names(row["n"])
                out += ["", f"## {row['rater']}, n = {row['n']}: answers (columns) to true classes (rows)", ""]
                out += ["| true | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
                out += [f"| {c} | " + " | ".join(map(str, counts)) + " |" for c, counts in zip(names, row["confusion"])]
        return out


_HEAD = (
    "| rater | n | valid | repeats agree | right | independent errors | clusters misjudged | p | tokens in/out | "
    "s a rating | full run |"
)


def _line(row: dict[str, Any]) -> str:
    tokens = "-" if row["tokens_in"] is None else f"{row['tokens_in']:.0f} / {row['tokens_out']:.0f}"
    cost = "-"
    if row["full_run_cost"] is not None:
        cost = f"{row['full_run_cost']:.2f} {row['currency']} for {row['full_run_ratings']:,} ratings"
    cells = [
        row["rater"], str(row["n"]), _share(row["valid_share"]), _share(row["repeat_agreement"]),
        _share(row.get("accuracy")), _share(row.get("independent_errors")), _share(row.get("systematic_share")),
        f"{row['systematic_p']:.2g}" if "systematic_p" in row else "-", tokens, f"{row['latency_s']:.2f}", cost,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _share(value: float | None) -> str:
    return f"{value:.0%}" if known(value) else "-"


def _information(matrix: np.ndarray) -> float:
    """Mutual information of class and answer, bit a rating."""
    joint = matrix / matrix.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / product[seen])).sum())


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
