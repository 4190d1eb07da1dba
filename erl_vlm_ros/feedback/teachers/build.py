# SPDX-License-Identifier: Apache-2.0
"""From vlm_rater's parameters to a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.config import from_values
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.feedback.kinds import BOTH, PREFERENCE, FeedbackKind, kind_named, kinds_named
from erl_vlm_ros.feedback.ledger.file import AUDIT
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teacher_configs import AuditConfig, HumanConfig, ReratingConfig, ScriptedConfig, VoteConfig
from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.teachers.both_orders import BothOrders
from erl_vlm_ros.feedback.teachers.by_kind import ByKind
from erl_vlm_ros.feedback.teachers.ensemble import EnsembleTeacher
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.teachers.human_desk import HumanDesk
from erl_vlm_ros.feedback.teachers.record import Record
from erl_vlm_ros.feedback.teachers.replayed import ReplayedTeacher
from erl_vlm_ros.feedback.teachers.rerating import ReratingTeacher
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.teachers.varied import VariedTeacher
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.feedback.vlm.variations import VARIATIONS, variations

Values = Mapping[str, Any]  # parameter of vlm_rater -> value


def make_teacher(name: str, values: Values, task: Task, ledger: Ledger) -> Teacher:
    """The teacher of that name, audited if ``audit.share`` says so; with feedback ``both``, one of each kind.

    Args:
        values: vlm_rater's parameters by name, all of them.
        ledger: where ratings are recorded; stays open when the teacher is closed.

    Raises:
        ConfigError: unknown name, or parameters that make no sense; names the parameter.
    """
    if name not in TEACHERS:
        text = f"teacher '{name}' is unknown; choose one of {', '.join(TEACHERS)}"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="vlm_rater.teacher")
    if values["feedback"] == BOTH:
        return _by_kind(name, values, task, ledger)
    auditor = values["audit.teacher"]
    if values["audit.share"] <= 0:
        return _answering(name, values, task, ledger)
    if name == "ledger" or auditor == name != "vlm":
        text = f"audit.share is {values['audit.share']}, but {_NO_AUDIT[name]}; set audit.share to 0"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.audit.share")
    config = from_values(AuditConfig, values, "audit.")
    names, who = _class_names(values, task), f"{name} audited by {auditor}"
    record = Record(ledger, task.name, names, AUDIT, who, _kind(values).part)
    teacher = _answering(name, values, task, ledger)
    try:
        return AuditedTeacher(teacher, TEACHERS[auditor](_auditor_values(values), task, ledger), config, record)
    except BaseException:
        teacher.close()
        raise


def _by_kind(name: str, values: Values, task: Task, ledger: Ledger) -> Teacher:
    """A teacher for each kind of ``both``; a person has one page for all, and a ledger is opened once."""
    of_kind = {
        kind.name: {**values, "feedback": kind.name, "both_orders": values["both_orders"] and kind is PREFERENCE}
        for kind in kinds_named(BOTH)
    }
    if values["audit.share"] > 0 and values["audit.teacher"] == "human":
        text = (
            "audit.teacher human audits one kind of feedback: set audit.share to 0, audit.teacher to vlm, or feedback"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.audit.teacher")
    if name == "human" and values["both_orders"]:
        text = "a person who is asked for both kinds compares in one order: set both_orders to false, or feedback"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.both_orders")
    path = Path(values["replay.ledger"]) if name == "ledger" and values["replay.ledger"] else None
    other = path is not None and path.is_file() and path.resolve() != ledger.path.resolve()
    opened = Ledger(path) if other else None
    teachers: dict[str, Teacher] = {}
    try:
        if name == "human" and values["audit.share"] <= 0:
            people = {kind: _person(own, task, ledger) for kind, own in of_kind.items()}
            return HumanDesk(people, values["human.host"], values["human.port"])
        for kind, own in of_kind.items():
            teachers[kind] = make_teacher(name, own, task, ledger if opened is None else opened)
        return ByKind(teachers, None if opened is None else opened.close)
    except BaseException:
        for teacher in teachers.values():
            teacher.close()
        if opened is not None:
            opened.close()
        raise


def _answering(name: str, values: Values, task: Task, ledger: Ledger) -> Teacher:
    """The teacher without its audits; asked in both orders where ``both_orders`` says so."""
    teacher = TEACHERS[name](values, task, ledger)
    if not values["both_orders"]:
        return teacher
    try:
        return BothOrders(teacher)
    except BaseException:
        teacher.close()
        raise


def _auditor_values(values: Values) -> dict[str, Any]:
    """vlm_rater's parameters as the auditor has them: it answers the parts of queries, and a model is another one.

    Raises:
        ConfigError: the auditor would ask the same model the same question.
    """
    given = {key: values[f"audit.{key}"] for key in ("model", "base_url", "api_key_env") if values[f"audit.{key}"]}
    if values["audit.teacher"] == "vlm" and not given.keys() & {"model", "base_url"}:
        text = "audit.teacher is vlm, but no other model is named: set audit.model, or audit.base_url"
        raise ConfigError(text, code=Code.NOT_GIVEN, parameter="vlm_rater.audit.model")
    limit = values["audit.timeout_s"]  # a round waits for its audits
    given |= {"human.round_timeout_s": limit, "give_up_s": min(values["give_up_s"], limit)}
    return {**values, **given, "feedback": _kind(values).part.name, "rerate.variations": None}


def _vlm(values: Values, task: Task, ledger: Ledger) -> Teacher:
    config = from_values(ReratingConfig, values, "rerate.")
    first = VlmRater(rater_config(values), task, ledger)
    others: dict[str, Teacher] = {}
    try:
        for variation in variations(values["rerate.variations"] or ()):
            # what is asked about again may be a part of a query: it is then a query of its own
            cfg = replace(first.cfg, prompts=variation.prompts, feedback=first.kind.part.name)
            others[variation.name] = VariedTeacher(VlmRater(cfg, task, ledger), variation)
        return ReratingTeacher(first, others, config) if others else first
    except BaseException:
        for teacher in (first, *others.values()):
            teacher.close()
        raise


def _human(values: Values, task: Task, ledger: Ledger) -> Teacher:
    teacher = _person(values, task, ledger)
    teacher.serve()
    return teacher


def _person(values: Values, task: Task, ledger: Ledger) -> HumanTeacher:
    """Without a page."""
    names = _class_names(values, task)
    config = from_values(HumanConfig, values, "human.")
    kind = _kind(values)
    record = Record(ledger, task.name, names, "human", kind=kind.part)
    return HumanTeacher(config, task, len(names), record, kind, values["rater_cameras"] or ())


def _ledger(values: Values, task: Task, ledger: Ledger) -> Teacher:
    path, model = values["replay.ledger"], values["replay.model"]
    return ReplayedTeacher(path, ledger, task, len(_class_names(values, task)), model, _kind(values))


def _scripted(values: Values, task: Task, ledger: Ledger) -> Teacher:
    names = _class_names(values, task)
    config = from_values(ScriptedConfig, values, "scripted.", seed=values["seed"])
    record = Record(ledger, task.name, names, "scripted", kind=_kind(values).part)
    return ScriptedTeacher(config, task.name, names, record, _kind(values))


def _ensemble(values: Values, task: Task, ledger: Ledger) -> Teacher:
    config = from_values(VoteConfig, values, "ensemble.")
    members: dict[str, Teacher] = {}
    try:
        for name, cfg, repeat in ensemble_members(values):
            rater: Teacher = VlmRater(cfg, task, ledger, repeat)
            members[name] = VariedTeacher(rater, VARIATIONS[cfg.prompts]) if cfg.prompts in VARIATIONS else rater
        names, who = _class_names(values, task), " + ".join(members)
        record = Record(ledger, task.name, names, "ensemble", who, _kind(values).part)
        return EnsembleTeacher(members, config, record)
    except BaseException:
        for member in members.values():
            member.close()
        raise


_NO_AUDIT = {
    "ledger": "a ledger is replayed with the audits that it holds",
    "human": "the person would audit their own ratings",
    "scripted": "the truth would audit itself",
}
TEACHERS: dict[str, Callable[[Values, Task, Ledger], Teacher]] = {
    "vlm": _vlm,
    "human": _human,
    "ledger": _ledger,
    "scripted": _scripted,
    "ensemble": _ensemble,
}


def rater_config(values: Values) -> RaterConfig:
    """RaterConfig from vlm_rater's parameters."""
    return from_values(RaterConfig, values)


def ensemble_members(values: Values) -> list[tuple[str, RaterConfig, int]]:
    """(name, configuration, number of the vote) of each member; lists of one entry hold for all.

    Raises:
        ConfigError: lists of ``ensemble.*`` that differ in length, or two members that are the same.
    """
    base, votes = rater_config(values), values["ensemble.votes"]
    lists = {key: list(values[f"ensemble.{key}"]) for key in ("models", "base_urls", "api_key_envs", "prompts")}
    count = max(map(len, lists.values()))
    for key, entries in lists.items():
        if len(entries) not in (1, count):
            text = f"ensemble.{key} has {len(entries)} entries; give one for all, or {count}"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"vlm_rater.ensemble.{key}")
        lists[key] = entries * count if len(entries) == 1 else entries
    members = []
    for i in range(count):
        given = {name: lists[key][i] for name, key in _FIELDS.items() if lists[key][i]}
        if votes > 1:
            given["temperature"] = values["ensemble.temperature"]
        cfg = replace(base, **given)
        label = cfg.model if cfg.prompts == base.prompts else f"{cfg.model} {cfg.prompts}"
        members += [(f"{label} #{k + 1}" if votes > 1 else label, cfg, k) for k in range(votes)]
    names = [name for name, _, _ in members]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        text = (
            f"two members of the ensemble are '{twice[0]}' and would answer alike: give them different models or"
            " prompts, or ask one several times with ensemble.votes"
        )
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.ensemble.models")
    return members


_FIELDS = {"model": "models", "base_url": "base_urls", "api_key_env": "api_key_envs", "prompts": "prompts"}


def _class_names(values: Values, task: Task) -> list[str]:
    return _kind(values).class_names(task, values["n_classes"] or 0)


def _kind(values: Values) -> FeedbackKind:
    return kind_named(values["feedback"])
