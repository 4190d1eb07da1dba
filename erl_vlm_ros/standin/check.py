# SPDX-License-Identifier: Apache-2.0
"""How well the stand-in VLM sees: its ratings of mixed simulator frames against the truth.

    python -m erl_vlm_ros.standin.check --task drawer_open --frames 1500

Prints a confusion matrix per number of classes and one JSON line last.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time

import numpy as np

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.vlm.parsing import parse_rating, rating_schema
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.sim.trajectories import TrueFrame, collect_frames
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig


def analyse(answerer: Answerer, task_name: str, frames: list[TrueFrame]) -> list[str]:
    """Stage 1 for every frame, asked with the shipped prompt; it is the same for all numbers of classes."""
    task = load_task(task_name)
    text = {"type": "text", "text": load_prompts(task, task.n_classes).analysis(1)}
    out = []
    for frame in frames:
        url = "data:image/jpeg;base64," + base64.b64encode(frame.jpeg).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, text]
        out.append(answerer.answer({"messages": [{"role": "user", "content": content}]}))
    return out


def rate(answerer: Answerer, task_name: str, n: int, analyses: list[str]) -> np.ndarray:
    """Stage 2 for every analysis: classes int64 [N]."""
    task = load_task(task_name)
    prompts, names = load_prompts(task, n), task.class_names(n)
    out = np.empty(len(analyses), np.int64)
    for i, analysis in enumerate(analyses):
        messages = [{"role": "user", "content": prompts.rating(1, analysis)}]
        out[i] = parse_rating(answerer.answer({"messages": messages, "response_format": rating_schema(names)}), names)
    return out


def confusion(truth: np.ndarray, rated: np.ndarray, n: int) -> np.ndarray:
    """Counts [n, n]: rows the true class, columns the rating."""
    return np.bincount(n * truth + rated, minlength=n * n).reshape(n, n)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    p = argparse.ArgumentParser(prog="python -m erl_vlm_ros.standin.check", description=__doc__.split("\n")[0])
    p.add_argument("--task", default="drawer_open")
    p.add_argument("--robot", default="", help="robot file of the arm in the scene (default: ours)")
    p.add_argument("--frames", type=int, default=600)
    p.add_argument("--classes", default="2,3,4,5")
    p.add_argument("--size", type=int, default=128, help="of the images, px")
    p.add_argument("--error-rate", type=float, default=0.0)
    p.add_argument("--systematic-rate", type=float, default=0.0)
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args(argv)
    try:
        robot = load_robot(args.robot) if args.robot else None
        answerer = Answerer(AnswererConfig(args.error_rate, args.systematic_rate, args.seed, robot=args.robot))
        frames = collect_frames(args.task, args.frames, args.seed, args.size, robot=robot)
        report: dict[str, object] = {"task": args.task, "robot": args.robot, "frames": args.frames, "size": args.size}
        start = time.process_time()
        analyses = analyse(answerer, args.task, frames)
        report["cpu_ms"] = round(1000 * (time.process_time() - start) / len(frames), 2)
        for n in map(int, args.classes.split(",")):
            rated = rate(answerer, args.task, n, analyses)
            matrix = confusion(np.array([f.classes[n] for f in frames]), rated, n)
            report[f"accuracy_{n}"] = round(float(np.trace(matrix) / matrix.sum()), 4)
            print(f"{args.task}, n = {n}: accuracy {report[f'accuracy_{n}']:.3f}\n{matrix}")
    except ConfigError as error:
        print(f"standin_check: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
