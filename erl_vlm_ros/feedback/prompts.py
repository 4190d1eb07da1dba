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
    "analysis": ({"images", "instruction"}, {"focus", "actions", "measurements", "last_image"}),
    "rating": ({"analysis", "instruction", "classes"}, {"images", "last_image", "focus"}),
    "one_stage": ({"images", "instruction", "classes"}, {"focus", "actions", "measurements", "last_image"}),
}
# the same when every transition of a segment gets a rating of its own
_EACH = "_transitions"
TEMPLATES |= {
    "analysis" + _EACH: ({"images", "instruction"}, {"focus", "actions", "measurements", "steps"}),
    "rating" + _EACH: ({"analysis", "instruction", "classes", "steps"}, {"images", "focus"}),
    "one_stage" + _EACH: ({"images", "instruction", "classes", "steps"}, {"focus", "actions", "measurements"}),
}
FRAMES = ("images", "strip")


@dataclass(frozen=True)
class Prompts:
    """The templates of one prompt set, checked; fill with ``analysis``, ``rating`` or ``one_stage``.

    ``strip``: the frames are shown side by side in one picture. ``each_transition``: a rating for each of them.
    """

    templates: dict[str, str]  # analysis, rating, one_stage
    task: Task
    n_classes: int
    strip: bool = False
    each_transition: bool = False

    def analysis(self, n_images: int, actions: str = "", measurements: str = "") -> str:
        """Stage 1: what to describe in the segment's images. ``actions``: the motion in words, or empty;
        ``measurements``: what else was measured, in words, or empty."""
        return self.templates["analysis"].format_map(self._fields(n_images, actions, measurements))

    def rating(self, n_images: int, analysis: str) -> str:
        """Stage 2, text only: choose a class from the analysis."""
        return self.templates["rating"].format_map({**self._fields(n_images), "analysis": analysis.strip()})

    def one_stage(self, n_images: int, actions: str = "", measurements: str = "") -> str:
        """Both in one query: choose a class from the images."""
        return self.templates["one_stage"].format_map(self._fields(n_images, actions, measurements))

    def _fields(self, n_images: int, actions: str = "", measurements: str = "") -> dict[str, str]:
        several = n_images > 1
        images = f"{n_images} consecutive camera images" if several else "A camera image"
        if several and self.strip:
            images = f"One picture with {n_images} consecutive camera images side by side, numbered from left to right,"
        return {
            "instruction": self.task.instruction,
            "focus": self.task.focus,
            "images": images,
            "last_image": "the last image" if several else "the image",
            "steps": str(n_images - 1),
            "actions": f"\nBetween the images the arm moved like this:\n{actions}" if actions else "",
            "measurements": f"\n{measurements}" if measurements else "",
            "classes": "\n".join(f"- {c.name}: {c.description}" for c in self.task.classes[self.n_classes]),
        }


def load_prompts(
    task: Task,
    n_classes: int,
    folder: str | Path = "default",
    frames: str = "images",
    rate_each: str = "segment",
    measured: bool = False,
) -> Prompts:
    """Read and check a prompt set: a shipped one by name (``config/prompts/NAME``) or any folder by path.

    Args:
        frames: ``images`` (a picture each) or ``strip``. rate_each: ``segment`` or ``transition``.
        measured: the prompts are to tell what was measured besides the images.

    Raises:
        ConfigError: a file is missing, a field is unknown, missing or misspelt; names file, line and field.
    """
    task.class_names(n_classes)  # raises when the task does not describe n classes
    path = Path(folder)
    if not path.is_dir():
        path = resource(f"config/prompts/{folder}")
    each = rate_each == "transition"
    texts = {}
    for name in ("analysis", "rating", "one_stage"):
        file = name + (_EACH if each else "")
        required, optional = TEMPLATES[file]
        if measured and "measurements" in optional:
            required = required | {"measurements"}
        texts[name] = _read(path / f"{file}.txt", required, optional)
    return Prompts(texts, task, n_classes, frames == "strip", each)


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
