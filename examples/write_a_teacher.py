# SPDX-License-Identifier: Apache-2.0
"""A teacher of your own: here one that rates by the mean brightness of the image, without any model.

    python examples/write_a_teacher.py IMAGES

A teacher takes a QueryBatch and gives the Future of a LabelBatch. QuerywiseTeacher keeps rounds, time-outs and counts;
what is left to write is how a query gets its class. To use it in the graph: docs/how_to/add_a_teacher.md.
"""

from __future__ import annotations

import argparse

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import decode_image
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.feedback.check.frames import load_frames
from erl_vlm_ros.feedback.teachers.base import QuerywiseTeacher, Round


class BrightnessTeacher(QuerywiseTeacher):
    """Dark images are of the lowest class, bright ones of the highest."""

    def _begin(self, here: Round) -> None:
        for index, query in enumerate(here.queries):
            brightness = decode_image(query[-1].jpegs[-1]).mean() / 256.0
            self._answer(here, index, int(brightness * self.n_classes))


def main() -> None:
    """Rate a folder of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="JPEG or PNG images")
    args = parser.parse_args()

    task = load_task("drawer_open")
    frames = load_frames(args.folder, task.name, count=50)
    teacher = BrightnessTeacher("brightness", ["Bad", "Average", "Good"])
    for name, label in zip(frames.names, teacher.label_batch(QueryBatch.of(0, frames.segments(task))).labels):
        print(f"{name}: {teacher.class_names[label.value]}")
    print(teacher.stats())


if __name__ == "__main__":
    main()
