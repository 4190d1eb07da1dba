# SPDX-License-Identifier: Apache-2.0
"""Parameters of vlm_rater. The API key itself is never a parameter, only the name of its environment variable."""

from __future__ import annotations

from erl_vlm_ros.feedback.teacher_configs import AuditConfig, HumanConfig, ReratingConfig, ScriptedConfig, VoteConfig
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.params.param import Param, group
from erl_vlm_ros.params.tables._shared import FEEDBACK

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("run_id", "", "Episodes, ratings and weights of another run are refused; empty: none is."),
    Param(
        "teacher",
        "vlm",
        "Who rates: a model, a person on a web page, a ledger that is replayed, the simulation's truth with errors"
        " (benchmarks only), or several models together.",
        choices=("vlm", "human", "ledger", "scripted", "ensemble"),
    ),
    *group("", RaterConfig, leave=("feedback",)),
    FEEDBACK,
    Param(
        "both_orders",
        False,
        "Feedback preference: ask about each pair in both orders, for two queries, and keep what agrees.",
    ),
    Param("ledger", "ledger.sqlite", "SQLite file that keeps every query and answer."),
    Param("check_endpoint", True, "Refuse to start when the endpoint does not answer."),
    *group("human", HumanConfig),
    Param(
        "human.joy_buttons",
        None,
        "Joystick button of each class, worst first; not set: the joystick does not rate.",
        low=0,
        high=63,
        unset="int[]",
    ),
    Param("human.joy_skip", None, "Joystick button that abstains.", low=0, high=63, unset="int"),
    Param("human.joy_undo", None, "Joystick button that takes the last rating back.", low=0, high=63, unset="int"),
    *group("scripted", ScriptedConfig, leave=("seed",)),
    Param("replay.ledger", "", "Ledger that teacher: ledger answers from; empty: the run's own."),
    Param("replay.model", "", "Only that model's ratings (or human); empty: any, an ensemble's before its members'."),
    Param(
        "rerate.variations",
        None,
        "Ways in which high ratings of the teacher vlm are asked about again, in this order: reworded, mirrored, "
        "detail; not set: believed at once.",
        unset="str[]",
    ),
    *group("rerate", ReratingConfig),
    *group("audit", AuditConfig),
    Param(
        "audit.teacher",
        "human",
        "Who audits: a person on the web page, another model, or the simulation's truth with errors (benchmarks only).",
        choices=("human", "vlm", "scripted"),
    ),
    Param(
        "audit.timeout_s",
        120.0,
        "What the auditor has not answered so long after it was asked keeps the teacher's rating, s.",
        low=1.0,
        high=86_400.0,
    ),
    Param("audit.model", "", "The auditing model; empty: model."),
    Param("audit.base_url", "", "Its endpoint; empty: base_url."),
    Param("audit.api_key_env", "", "NAME of the variable with its key; empty: api_key_env."),
    Param("ensemble.models", [""], "Model of each member; an empty name: model.", any_length=True),
    Param("ensemble.base_urls", [""], "Endpoint of each, or one for all; empty: base_url.", any_length=True),
    Param("ensemble.api_key_envs", [""], "Key variable of each, or one for all; empty: api_key_env.", any_length=True),
    Param(
        "ensemble.prompts",
        [""],
        "Prompt set of each, or one for all; mirrored and detail vary the image, too; empty: prompts.",
        any_length=True,
    ),
    Param("ensemble.votes", 1, "How often each member is asked the same.", low=1, high=64),
    Param("ensemble.temperature", 0.7, "Their temperature when they are asked several times.", low=0.0, high=2.0),
    *group("ensemble", VoteConfig),
)
