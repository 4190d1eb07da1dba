# SPDX-License-Identifier: Apache-2.0
"""Ask a vision-language model for a rating of every image in a folder, and print the classes.

    python examples/rate_a_folder.py IMAGES --task drawer_open --base-url http://localhost:8000/v1 --model MODEL

Where the endpoint needs a key, name the environment variable that holds it (--api-key-env). The ledger keeps every
answer: run again, and nothing is paid twice.
"""

from __future__ import annotations

import argparse

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.feedback.check.frames import load_frames
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater


def main() -> None:
    """Rate, print one line an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="JPEG or PNG images; a sub-folder for each trajectory, if there are several")
    parser.add_argument("--task", default="drawer_open", help="name or file of a task")
    parser.add_argument("--base-url", required=True, help="of an OpenAI-compatible endpoint")
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key-env", default="", help="NAME of the environment variable with the key")
    parser.add_argument("--count", type=int, default=50, help="at most so many images, evenly spread")
    parser.add_argument("--ledger", default="ratings.sqlite", help="file of all answers")
    args = parser.parse_args()

    task = load_task(args.task)
    frames = load_frames(args.folder, task.name, args.count)
    config = RaterConfig(
        base_url=args.base_url, model=args.model, api_key_env=args.api_key_env, n_classes=3, max_queries=args.count
    )
    with Ledger(args.ledger) as ledger, VlmRater(config, task, ledger) as rater:
        batch = rater.label_batch(QueryBatch.of(0, frames.segments(task)))
        for name, label in zip(frames.names, batch.labels):
            print(f"{name}: {rater.class_names[label.value] if label.value >= 0 else label.reason}")


if __name__ == "__main__":
    main()
