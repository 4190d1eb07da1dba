# SPDX-License-Identifier: Apache-2.0
"""Does the rater keep its word when everything fails: a storm of faults, a tight budget, kill -9 at random moments.

The endpoint (rater_endpoint.py) is a process of its own, decides each rating from the image's bytes, and keeps its own
bill, which is compared with the ledger afterwards:

- storm: a share of all requests meets one of 17 faults. Checked: every rating is what the endpoint said about this
  image (none invented), every answer that it delivered is in the ledger (none lost), no question was answered and
  billed twice, what the ledger counts is never below the bill, and a tight budget is never exceeded;
- kills: the rating process is killed -9 again and again. Checked: the ledger opens and is sound, every question is
  answered there once, none was asked again that had its answer, the run ends with all ratings. An answer that was on
  its way when the process died is billed and cannot be known here: such requests are counted apart; an endpoint that
  honours Idempotency-Key (--honour-keys) bills them once.

    python benchmarks/rater_faults.py --ratings 5000 --kills 50

Prints a table and one JSON line last; exit status 1 when something was not kept.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rater_bench import EndpointProcess, batch, read_log, right
from rater_endpoint import USELESS

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater

_PRICES = (
    "models:\n  bench: {currency: USD, input: 1.0, output: 4.0, image_tokens: 300,"
    " checked: 2026-11-20, source: benchmark}\n"
)
_ROUND = 50
# what the rater calls the endpoint's useless answers
_REASON = {
    "refusal": "refusal", "empty_choices": "empty", "out_of_class": "out_of_class", "bad_rating_json": "unreadable",
}  # fmt: skip


def main() -> int:
    """Run the parts and print; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=int, default=5000, help="of the storm; 0: no storm")
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that fail")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--timeout", type=float, default=2.0, help="of one request, s")
    parser.add_argument("--kills", type=int, default=50, help="0: none")
    parser.add_argument("--kill-ratings", type=int, default=1000)
    parser.add_argument("--kill-latency", type=float, default=0.15, help="of the endpoint meanwhile, s")
    parser.add_argument("--honour-keys", action="store_true", help="the endpoint bills a repeated question once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("URL", "LEDGER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child, args.kill_ratings)
    result: dict = {"benchmark": "rater_faults"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "prices.yaml").write_text(_PRICES)
        if args.ratings:
            result["storm"] = storm(args, Path(folder))
            result["tight_budget"] = tight(args, Path(folder))
        if args.kills:
            result["kills"] = kills(args, Path(folder))
    broken = [f"{part}.{name}" for part, r in result.items() if part != "benchmark" for name in r["broken"]]
    print("| | |\n|---|---|")
    for part, figures in result.items():
        for name, value in figures.items() if isinstance(figures, dict) else ():
            print(f"| {part}: {name} | {value} |")
    print(json.dumps(result | {"kept": not broken}))
    return 1 if broken else 0


def storm(args: argparse.Namespace, folder: Path) -> dict:
    """All ratings at once through an endpoint that fails."""
    path, log = folder / "storm.sqlite", folder / "storm.jsonl"
    start = time.monotonic()
    with endpoint(args, log) as server, Ledger(path) as ledger, rater_of(config(server, folder, args), ledger) as rater:
        rated = rater.label_batch(batch(0, args.ratings)).labels
        stats = rater.stats()
    seconds = time.monotonic() - start
    bill, answers, attempts = read_log(log), ledger_answers(path), ledger_attempts(path)
    figures = {
        "ratings": len(rated),
        "seconds": round(seconds, 1),
        "requests": len(bill),
        "faults": dict(sorted(Counter(e["kind"] for e in bill if e["kind"] != "ok").items())),
        "valid": int(stats["valid"]),
        "no_rating": {k[7:]: int(v) for k, v in stats.items() if k.startswith("reason_")},
        **compare(bill, answers, attempts),
        "invented_ratings": invented(rated, bill, answers),
        "breaker_opened": int(stats["breaker_opened"]),
    }
    never = ("invented_ratings", "lost_paid_answers", "answered_twice", "under_counted_tokens")
    broken = [k for k in never if figures[k]]
    if len(rated) != args.ratings or set(figures["no_rating"]) - set(_REASON.values()):
        broken.append("no_rating")
    return figures | {"broken": broken}


def tight(args: argparse.Namespace, folder: Path) -> dict:
    """Money for some 40% of the ratings, and the same storm."""
    count = max(20, args.ratings // 10)
    limit = round(count * 0.0004, 6)  # a rating takes about 0.001 USD
    path, log = folder / "tight.sqlite", folder / "tight.jsonl"
    most = 0.0
    with endpoint(args, log) as server, Ledger(path) as ledger:
        limited = config(server, folder, args, max_money=limit, max_tokens=60)
        for start in range(0, count, 100):  # a new rater each time: the limit is the ledger's
            with rater_of(limited, ledger) as rater:
                rated = rater.label_batch(batch(start, min(100, count - start))).labels
                most = max(most, rater.stats()["spent_money"])
    figures = {
        "ratings": count,
        "limit_usd": limit,
        "counted_usd": round(most, 6),
        "billed_usd": round(sum(entry["usd"] for entry in read_log(log)), 6),
        "refused_for_budget_in_last_round": sum(r.reason == "budget" for r in rated),
    }
    broken = [k for k in ("counted_usd", "billed_usd") if figures[k] > limit]
    if not figures["refused_for_budget_in_last_round"] or most < 0.5 * limit:
        broken.append("never_reached")
    return figures | {"broken": broken}


def kills(args: argparse.Namespace, folder: Path) -> dict:
    """Start the rating process, kill it, start it again, until all kills are done; then let it finish."""
    path, log, rng = folder / "kills.sqlite", folder / "kills.jsonl", random.Random(args.seed)
    options = ["--honour-keys"] if args.honour_keys else []
    opened = killed = 0
    with EndpointProcess("--latency", str(args.kill_latency), "--log", str(log), *options) as server:
        command = [sys.executable, __file__, "--child", server.url, str(path), "--kill-ratings", str(args.kill_ratings)]
        startup = 1.0
        while True:
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            if killed < args.kills:
                # half of them from the first moment on, half while ratings are under way
                if rng.random() < 0.5:
                    time.sleep(rng.uniform(0.0, startup))
                elif process.stdout.readline():
                    startup = time.monotonic() - start
                    time.sleep(rng.uniform(0.0, 1.0))
                process.send_signal(signal.SIGKILL)
            process.communicate(timeout=3600)
            if process.returncode != -signal.SIGKILL:
                break
            killed += 1
            opened += sound(path)
    bill, answers, attempts = read_log(log), ledger_answers(path), ledger_attempts(path)
    with Ledger(path) as ledger:
        rated = [r for _, r in ledger.labels()]
        wrong = sum(r.value != right(r.segment) for r in rated)
    compared = compare(bill, answers, attempts)
    figures = {
        "ratings": len(rated),
        "kills": killed,
        "ledger_sound_after_kill": opened,
        "exit_status_of_last": process.returncode,
        "wrong_ratings": wrong,
        **{k if k != "answered_twice" else "answered_again_after_kill": v for k, v in compared.items()},
        "on_their_way_when_killed": sum(a["state"] == "lost" for a in attempts),
        "asked_again_that_had_their_answer": asked_again(bill, answers),
    }
    never = ("wrong_ratings", "asked_again_that_had_their_answer", "exit_status_of_last", "under_counted_tokens")
    broken = [k for k in never if figures[k]]
    # an answer is delivered once, but for those that a dying process had asked for
    lost = Counter(a["key"] for a in attempts if a["state"] == "lost")
    delivered = Counter(e["key"] for e in bill if e["kind"] == "ok")
    if any(count > 1 + lost[key] for key, count in delivered.items()):
        broken.append("answered_twice")
    if figures["lost_paid_answers"]:
        broken.append("lost_paid_answers")
    if opened != killed or len({r.segment.id for r in rated}) != len(rated) or len(rated) != args.kill_ratings:
        broken.append("ratings")
    return figures | {"broken": broken}


def child(url: str, ledger: str, ratings: int) -> int:
    """Rate all of it, in rounds; says so when it begins to ask."""
    settings = RaterConfig(base_url=url, model="bench", n_classes=3, concurrency=8, max_queries=10**6)
    valid = 0
    with Ledger(ledger) as file, rater_of(settings, file) as rater:
        print("asking", flush=True)
        for start in range(0, ratings, _ROUND):
            valid += len(rater.label_batch(batch(start, min(_ROUND, ratings - start), start // _ROUND)).valid)
    return 0 if valid == ratings else 1


def rater_of(settings: RaterConfig, ledger: Ledger) -> VlmRater:
    """A rater of the benchmark's task."""
    return VlmRater(settings, load_task("drawer_open"), ledger)


def endpoint(args: argparse.Namespace, log: Path) -> EndpointProcess:
    """One that fails, and holds hanging requests for longer than the rater waits."""
    hang = str(args.timeout + 2.0)
    return EndpointProcess("--faults", str(args.faults), "--seed", str(args.seed), "--hang", hang, "--log", str(log))


def config(server: EndpointProcess, folder: Path, args: argparse.Namespace, **more: float) -> RaterConfig:
    """Two stages, many retries, short pauses."""
    return RaterConfig(
        base_url=server.url, model="bench", n_classes=3, concurrency=args.concurrency, max_queries=10**6,
        prices=str(folder / "prices.yaml"), timeout_s=args.timeout, max_retries=15, backoff_s=0.02, seed=args.seed,
        breaker_pause_s=0.2, **more,
    )  # fmt: skip


def invented(rated: list, bill: list[dict], answers: dict[tuple[str, str], str]) -> int:
    """Ratings that are not what the endpoint said about the image, and reasons that it gave no cause for."""
    said = {entry["key"]: entry["kind"] for entry in bill if entry["kind"] in ("ok", *USELESS)}
    causes = Counter(_REASON[kind] for kind in said.values() if kind in USELESS)
    reasons = Counter(one.reason for one in rated if one.value < 0)
    wrong = sum(one.value >= 0 and one.value != right(one.segment) for one in rated)
    # a class word that does not fit is harmless in the analysis, so causes may be more than reasons
    return wrong + sum((reasons - causes).values())


def compare(bill: list[dict], answers: dict[tuple[str, str], str], attempts: list[dict]) -> dict[str, int]:
    """The endpoint's bill against the ledger."""
    arrived = [e for e in bill if e["kind"] in ("ok", *USELESS)]
    texts: dict[str, set] = {}
    for entry in arrived:
        texts.setdefault(entry["key"], set()).add(entry["text"])
    have = {f"{hash_[:40]}-{stage}": text for (hash_, stage), text in answers.items()}
    lost_keys = {a["key"] for a in attempts if a["state"] == "lost"}
    return {
        "answers_delivered": len(arrived),
        "answers_in_ledger": len(answers),
        "lost_paid_answers": sum(have.get(key) not in said for key, said in texts.items() if key not in lost_keys)
        + sum(key not in have for key in lost_keys & set(texts)),
        "answered_twice": sum(n - 1 for n in Counter(e["key"] for e in arrived).values()),
        "billed_without_answer": sum(e["tokens"] > 0 for e in bill) - len(arrived),
        "billed_tokens": sum(e["tokens"] for e in bill),
        "counted_tokens": sum(a["tokens"] for a in attempts if a["charged"]),
        "under_counted_tokens": max(
            0, sum(e["tokens"] for e in bill) - sum(a["tokens"] for a in attempts if a["charged"])
        ),
    }


def asked_again(bill: list[dict], answers: dict[tuple[str, str], str]) -> int:
    """Requests that came after their answer was in the ledger."""
    written = {f"{hash_[:40]}-{stage}": created for (hash_, stage), created in answers.created.items()}
    return sum(e["came"] > written.get(e["key"], 1e18) for e in bill)


def sound(path: Path) -> bool:
    """Whether the ledger opens and its file is in order."""
    if not path.exists():
        return True  # killed before it was made
    with Ledger(path) as ledger:
        return ledger.run(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"


class Answers(dict):
    """(hash, stage) -> text; ``created``: the same keys -> time of the commit's making."""

    created: dict[tuple[str, str], float]


def ledger_answers(path: Path) -> Answers:
    """All answers of a ledger."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT hash, stage, text, created FROM answers").fetchall()
    answers = Answers({(h, s): text for h, s, text, _ in rows})
    answers.created = {(h, s): created for h, s, _, created in rows}
    return answers


def ledger_attempts(path: Path) -> list[dict]:
    """All attempts of a ledger."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT hash, stage, state, charged, tokens FROM attempts").fetchall()
    return [{"key": f"{h[:40]}-{s}", "state": state, "charged": c, "tokens": t} for h, s, state, c, t in rows]


if __name__ == "__main__":
    sys.exit(main())
