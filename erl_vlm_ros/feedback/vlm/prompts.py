# SPDX-License-Identifier: Apache-2.0
"""Prompt templates (files with named fields) filled for a task and a segment."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, replace
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError, file_fault
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.choices import is_choice
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import RATING, FeedbackKind
from erl_vlm_ros.feedback.vlm.thinking import without_thinking

FRAMES = ("images", "strip")
MOVED = "Between the images the arm moved like this:"
DONE = "Between the images this was done:"
VIEWS = "from each of {} cameras that look at the same moment"


@dataclass(frozen=True)
class Prompts:
    """The templates of one prompt set, checked; fill with ``analysis``, ``rating`` or ``one_stage``.

    ``strip``: the frames of a segment are shown side by side in one image. ``views``: names of the cameras where
    several show one moment. ``moved``: what stands above the actions in words. ``described``: classes are told with
    their descriptions, not by their names alone.
    """

    templates: dict[str, str]  # analysis, rating, one_stage
    task: Task
    n_classes: int
    strip: bool = False
    kind: FeedbackKind = RATING
    views: tuple[str, ...] = ()
    moved: str = MOVED
    described: bool = True

    def about(self, segment: Segment) -> Prompts:
        """The same for the sentence of a segment's episode, where it has one, and for its kind of action."""
        done = segment.spaces is not None and is_choice(segment.spaces.action)
        prompts = replace(self, moved=DONE) if done else self
        if not segment.instruction:
            return prompts
        return replace(prompts, task=replace(self.task, instruction=segment.instruction))

    def analysis(self, n_images: int, actions: str = "", measurements: str = "") -> str:
        """Stage 1: what to describe in the segment's images. ``actions``: the motion in words, or empty;
        ``measurements``: what else was measured, in words, or empty."""
        return self.templates["analysis"].format_map(self._fields(n_images, actions, measurements))

    def rating(self, n_images: int, analysis: str) -> str:
        """Stage 2, text only: choose a class from the analysis."""
        template = self.templates["rating"]
        return template.format_map({**self._fields(n_images), "analysis": quoted(analysis, template)})

    def one_stage(self, n_images: int, actions: str = "", measurements: str = "") -> str:
        """Both in one query: choose a class from the images."""
        return self.templates["one_stage"].format_map(self._fields(n_images, actions, measurements))

    def _fields(self, n_images: int, actions: str = "", measurements: str = "") -> dict[str, str]:
        return {
            "instruction": self.task.instruction,
            "focus": self.task.focus,
            **self._words(n_images),
            "actions": f"\n{self.moved}\n{actions}" if actions else "",
            "measurements": f"\n{measurements}" if measurements else "",
            "classes": "\n".join(
                f"- {c.name}: {c.description}" if self.described else f"- {c.name}"
                for c in self.kind.classes(self.task, self.n_classes)
            ),
        }

    def _words(self, n_images: int) -> dict[str, str]:
        words = self.kind.words(n_images, self.strip)
        if len(self.views) < 2:
            return words
        names = f"{', '.join(self.views[:-1])} and {self.views[-1]}"
        return words | {
            "images": f"{words['images'].removesuffix(',')} {VIEWS.format(len(self.views))} ({names}),",
            "last_image": f"{words['last_image']} of every camera",
        }


def quoted(analysis: str, template: str) -> str:
    """An analysis as it may stand in a template: no thinking, and none of the tags that the template itself uses.

    A model that writes ``</analysis>`` shall not end the quotation.
    """
    text = without_thinking(analysis)
    for tag in set(re.findall(r"</\s*([\w-]+)\s*>", template)):
        text = re.sub(rf"<(?=\s*/?\s*{re.escape(tag)}\b)", "\u2039", text, flags=re.IGNORECASE)
    return text


def load_prompts(
    task: Task,
    n_classes: int,
    folder: str | Path = "default",
    frames: str = "images",
    kind: FeedbackKind = RATING,
    measured: bool = False,
    described: bool = True,
) -> Prompts:
    """Read and check a prompt set: a shipped one by name (``config/prompts/NAME``) or any folder by path.

    Args:
        frames: ``images`` (an image each) or ``strip``. kind: whose templates and classes are used.
        measured: the prompts are to tell what was measured besides the images. described: and what each class means.

    Raises:
        ConfigError: a file is missing, a field is unknown, missing or misspelt; names file, line and field.
    """
    kind.classes(task, n_classes)  # raises when the task does not describe n classes
    path = Path(folder)
    if not path.is_dir():
        path = resource(f"config/prompts/{folder}")
    texts = {}
    for stage, template in kind.templates.items():
        required, optional = set(template.required), set(template.optional)
        if measured and "measurements" in optional:
            required |= {"measurements"}
        texts[stage] = _read(path / f"{template.file}.txt", required, optional)
    return Prompts(texts, task, n_classes, frames == "strip", kind, described=described)


def _read(path: Path, required: set[str], optional: set[str]) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        problem = f"prompt template {path} cannot be read: {error.strerror}"
        raise ConfigError(problem, code=file_fault(error), file=str(path)) from error
    found = set()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            parts = list(string.Formatter().parse(line))
        except ValueError as error:
            problem = f"{path}:{number}: {error}; write {{{{ and }}}} for literal braces"
            raise ConfigError(problem, code=Code.UNREADABLE, file=f"{path}:{number}") from error
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            if name not in required | optional or spec or conversion:
                allowed = ", ".join(sorted(required | optional))
                problem = f"{path}:{number}: unknown field {{{name}}}; allowed: {allowed}"
                raise ConfigError(problem, code=Code.UNKNOWN, parameter=name, file=f"{path}:{number}")
            found.add(name)
    if required - found:
        problem = f"{path}: missing field {{{'}, {'.join(sorted(required - found))}}}"
        raise ConfigError(problem, code=Code.NOT_GIVEN, parameter=min(required - found), file=str(path))
    return text
