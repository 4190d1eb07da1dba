# SPDX-License-Identifier: Apache-2.0
"""Prompt templates (files with named fields) filled for a task and a segment."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.paths import resource
from erl_vlm_ros.tasks import Task

# template -> (fields it must contain, fields it may contain)
TEMPLATES = {
    "analysis": ({"images", "instruction"}, {"focus", "actions", "last_image"}),
    "rating": ({"analysis", "instruction", "classes"}, {"images", "last_image", "focus"}),
    "one_stage": ({"images", "instruction", "classes"}, {"focus", "actions", "last_image"}),
}


@dataclass(frozen=True)
class Prompts:
    """The templates of one prompt set, checked; fill with ``analysis``, ``rating`` or ``one_stage``."""

    analysis_template: str
    rating_template: str
    one_stage_template: str
    task: Task
    n_classes: int

    def analysis(self, n_images: int, actions: str = "") -> str:
        """Stage 1: what to describe in the segment's images. ``actions``: the motion in words, or empty."""
        return self.analysis_template.format_map(self._fields(n_images, actions))

    def rating(self, n_images: int, analysis: str) -> str:
        """Stage 2, text only: choose a class from the analysis."""
        return self.rating_template.format_map({**self._fields(n_images, ""), "analysis": analysis.strip()})

    def one_stage(self, n_images: int, actions: str = "") -> str:
        """Both in one query: choose a class from the images."""
        return self.one_stage_template.format_map(self._fields(n_images, actions))

    def _fields(self, n_images: int, actions: str) -> dict[str, str]:
        several = n_images > 1
        return {
            "instruction": self.task.instruction,
            "focus": self.task.focus,
            "images": f"{n_images} consecutive camera images" if several else "A camera image",
            "last_image": "the last image" if several else "the image",
            "actions": f"\nBetween the images the arm moved like this:\n{actions}" if actions else "",
            "classes": "\n".join(f"- {c.name}: {c.description}" for c in self.task.classes[self.n_classes]),
        }


def load_prompts(task: Task, n_classes: int, folder: str | Path = "default") -> Prompts:
    """Read and check a prompt set: a shipped one by name (``config/prompts/NAME``) or any folder by path.

    Raises:
        ConfigError: a file is missing, a field is unknown, missing or misspelt; names file, line and field.
    """
    task.class_names(n_classes)  # raises when the task does not describe n classes
    path = Path(folder)
    if not path.is_dir():
        path = resource(f"config/prompts/{folder}")
    texts = {name: _read(path / f"{name}.txt", *TEMPLATES[name]) for name in TEMPLATES}
    return Prompts(texts["analysis"], texts["rating"], texts["one_stage"], task, n_classes)


def _read(path: Path, required: set[str], optional: set[str]) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"prompt template {path} cannot be read: {error.strerror}") from error
    found = set()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            parts = list(string.Formatter().parse(line))
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: {error}; write {{{{ and }}}} for literal braces") from error
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            if name not in required | optional or spec or conversion:
                allowed = ", ".join(sorted(required | optional))
                raise ConfigError(f"{path}:{number}: unknown field {{{name}}}; allowed: {allowed}")
            found.add(name)
    if required - found:
        raise ConfigError(f"{path}: missing field {{{'}, {'.join(sorted(required - found))}}}")
    return text
