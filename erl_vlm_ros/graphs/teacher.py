# SPDX-License-Identifier: Apache-2.0
"""What the choice of the teacher means for the node graph. No ROS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.feedback.kinds import kinds_named
from erl_vlm_ros.params.layers import EVERY_NODE, Overrides
from erl_vlm_ros.params.tables import PARAMETERS

RATER = "vlm_rater"
HUMAN_URL = "human_page.url"  # beside the ledger
_WITH_ENDPOINT = ("vlm", "ensemble")
Nodes = Mapping[str, Mapping[str, Any]]  # node -> resolved parameters


def asks_standin(layers: Iterable[Overrides], overrides: Overrides) -> bool:
    """Whether the teacher asks an endpoint and none is named: then the stand-in answers.

    Args:
        layers: of parameters under the command line's ``overrides``, later ones win.
    """
    values = {param.name: param.default for param in PARAMETERS[RATER]}
    for layer in (*layers, overrides):
        values |= {**layer.get(EVERY_NODE, {}), **layer.get(RATER, {})}
    raters = _raters(values)
    if "base_url" in overrides.get(RATER, {}):
        return False
    if values["teacher"] == "ensemble" and "" in values["ensemble.base_urls"]:
        return True
    return values["teacher"] == "vlm" or ("vlm" in raters and not values["audit.base_url"])


def refuse_standin(task: Task) -> None:
    """ConfigError where the stand-in would rate images that it does not know."""
    if task.world:
        text = (
            f"the stand-in VLM knows images of our own scenes alone, not those of {task.name}: give a model by --set "
            "vlm_rater.base_url=URL, or --set vlm_rater.teacher=scripted (ground truth with errors), or human"
        )
        raise ConfigError(text, parameter="vlm_rater.teacher", code=Code.DOES_NOT_FIT)


def _raters(rater: Mapping[str, Any]) -> tuple[str, ...]:
    """The teacher, and the auditor where there is one, by vlm_rater's parameters."""
    return (rater["teacher"], *((rater["audit.teacher"],) if rater["audit.share"] > 0 else ()))


def announce_teacher(rater: Mapping[str, Any], run: Path) -> str:
    """What a user should know of the teacher when a run starts, from vlm_rater's parameters; often nothing."""
    teacher, *auditor = _raters(rater)
    words = ""
    if "human" in (teacher, *auditor):
        words = f"; {'rate' if teacher == 'human' else 'audit ratings'} at the address in {run / HUMAN_URL}"
    scripted = [what for what, who in (("ratings", [teacher]), ("audits", auditor)) if "scripted" in who]
    return words + (f"; {' and '.join(scripted)} are SCRIPTED from the simulation's ground truth" if scripted else "")


def check_teacher(name: str, nodes: Nodes) -> None:
    """Refuse a teacher that this graph cannot feed. ConfigError names the parameter and the fix."""
    rater, learner = nodes.get(RATER), nodes.get("learner")
    if rater is None:
        return
    if "scripted" in _raters(rater) and "sim_bridge" not in nodes:
        key, others = ("teacher", "vlm, human, ledger or ensemble"), ("audit.teacher", "human or vlm")
        key, others = key if rater["teacher"] == "scripted" else others
        raise ConfigError(
            f"vlm_rater.{key} is scripted, which needs the simulation's ground truth; {name} has none: choose {others}",
            code=Code.DOES_NOT_FIT,
            parameter=f"vlm_rater.{key}",
        )
    kind = max(kinds_named(rater["feedback"]), key=lambda kind: kind.min_frames)
    if learner is not None and learner["segment_length"] < kind.min_frames:
        text = (
            f"vlm_rater.feedback is {kind.name}, which needs segments of {kind.min_frames} frames or more, but"
            f" learner.segment_length is {learner['segment_length']}: raise it"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="learner.segment_length")
