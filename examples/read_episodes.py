# SPDX-License-Identifier: Apache-2.0
"""Read the episodes of a run, and write the last image of each.

python examples/read_episodes.py runs/train_sim --images last_images
"""

from __future__ import annotations

import argparse
from pathlib import Path

from erl_vlm_ros.data.sources.run import RunSource


def main() -> None:
    """One line an episode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory")
    parser.add_argument("--images", type=Path, help="folder for the last image of each episode")
    args = parser.parse_args()

    source = RunSource(args.run, rewards=True)
    while (item := source.poll()) is not None:
        episode = item.episode  # observations [T+1, O], actions [T, A], jpegs: T+1 images
        share = episode.intervention.mean() if episode.steps else 0.0
        print(
            f"episode {episode.index}: {episode.steps} steps, {'terminated' if episode.terminated else 'truncated'}, "
            f"learned return {item.rewards.sum():.2f}, {share:.0%} driven by a person"
        )
        if args.images is not None:
            args.images.mkdir(parents=True, exist_ok=True)
            (args.images / f"{episode.index:05d}.jpg").write_bytes(episode.jpegs[-1])


if __name__ == "__main__":
    main()
