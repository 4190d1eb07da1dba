# SPDX-License-Identifier: Apache-2.0
"""Layers of parameters: ROS parameter files, a task's overrides, --set. Every key is checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.yaml_file import parse_yaml, read_yaml
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.param import file_of, resolve
from erl_vlm_ros.params.tables import PARAMETERS, kind_of

EVERY_NODE = "/**"
BUILT_IN = ("use_sim_time",)
Overrides = Mapping[str, Mapping[str, Any]]  # node -> parameter -> value


def read_parameter_file(path: Path) -> dict[str, dict[str, Any]]:
    """A ROS parameter file as node -> parameter -> value; nested keys become dotted names.

    Raises:
        ConfigError: not YAML, or not of the form ``node: {ros__parameters: {...}}``.
    """
    raw = read_yaml(path)[0] or {}
    out = {}
    for node, body in raw.items() if isinstance(raw, dict) else [("", None)]:
        inner = body.get("ros__parameters") if isinstance(body, dict) and len(body) == 1 else None
        if not isinstance(inner, dict):
            text = f"{path}: {node or 'the file'} must have the form node: {{ros__parameters: {{...}}}}"
            raise ConfigError(text, code=Code.UNREADABLE, parameter=str(node), file=str(path))
        # A namespaced node's file names it in full: /lab/learner.
        name = EVERY_NODE if node == EVERY_NODE else renamed.node_name(str(node).rpartition("/")[2])
        out[name] = renamed.parameters(name, flatten(inner))
    return out


def settings_of(source: str) -> list[str]:
    """A parameter file as the texts that ``parse_overrides`` reads; a name without a path is a file of config/params.

    Raises:
        ConfigError: no such file, not a parameter file, or a key or value that no node takes; names the file.
    """
    path = Path(source)
    if not path.exists() and path.name == source and not path.suffix:
        folder = resource("config/params")
        path = folder / f"{source}.yaml"
        if not path.exists():
            known = ", ".join(sorted(f.stem for f in folder.glob("*.yaml")))
            text = f"--params-file {source}: no such file, and none of the shipped ones ({known})"
            raise ConfigError(text, code=Code.MISSING_FILE, parameter="params_file", file=source)
    layer = read_parameter_file(path)
    check(layer, str(path))
    texts = []
    for node, values in layer.items():
        for key, value in values.items():
            shown = value if isinstance(value, str) else json.dumps(value)  # JSON is YAML on one line
            texts.append(f"{node}.{key}={shown}")
    return texts


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names: {a: {b: 1}} -> {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def check(layer: Overrides, origin: str) -> None:
    """Refuse nodes and parameters that do not exist, and bad values; the message names ``origin``."""
    for node, values in layer.items():
        if node == EVERY_NODE:
            known = {param.name for table in PARAMETERS.values() for param in table}
            unknown = [key for key in values if key not in known and key not in BUILT_IN]
            if unknown:
                text = f"{origin}: no node declares the parameter '{unknown[0]}' of {EVERY_NODE}"
                raise ConfigError(text, code=Code.UNKNOWN, parameter=f"{EVERY_NODE}.{unknown[0]}", file=file_of(origin))
            continue
        if kind_of(node) not in PARAMETERS:
            text = f"{origin}: there is no node '{node}'; nodes are {', '.join(sorted(PARAMETERS))}"
            raise ConfigError(text, code=Code.UNKNOWN, parameter=node, file=file_of(origin))
        try:
            resolve(node, PARAMETERS[kind_of(node)], flatten(values))
        except ConfigError as error:
            raise error.within(origin, file=file_of(origin)) from error


def parse_overrides(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``["learner.first_ratings=100", ...]`` as node -> parameter -> value; the value is read as YAML.

    Raises:
        ConfigError: not of the form node.parameter=value, or the value is not YAML.
    """
    out: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, raw = text.partition("=")
        node, dot, given = name.strip().partition(".")
        node = renamed.node_name(node)
        key = renamed.PARAMETERS.get(node, {}).get(given, given)
        if not (equals and dot and node and key):
            raise ConfigError(
                f"--set {name}: expected node.parameter=value, for instance learner.seed=3", parameter=name
            )
        table = {param.name: param for param in PARAMETERS.get(kind_of(node), ())}
        plain = key in table and table[key].type == "str"
        value = raw.strip() if plain else parse_yaml(raw, f"--set {node}.{key}", parameter=f"{node}.{key}")[0]
        out.setdefault(node, {}).update(renamed.parameters(node, {given: value}))
    return out
