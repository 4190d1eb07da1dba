# SPDX-License-Identifier: Apache-2.0
"""Renamed nodes and parameters: the old names are understood, with a warning, for one version."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError

#: old node name -> new
NODES: dict[str, str] = {"sac_learner": "learner"}
#: new node name -> {old parameter: new parameter}
PARAMETERS: dict[str, dict[str, str]] = {
    "policy_controller": {"end_on_verdict": "end_on_label", "verdict_timeout_s": "label_timeout_s"},
    "vlm_rater": {"rate_each": "feedback", "audit.place_m": "audit.spacing_m"},
    "safety_guard": {
        "joint_names": "controller_joints",
        "max_lead_m": "max_tracking_error_m",
        "joint_leash": "max_joint_error_rad",
    },
    "sim_bridge": {"driver": "adapter", "driver_joints": "controller_joints"},
    "reward_trainer": {
        "recipe": "reward_model",
        "heads.kind_size": "heads.cluster_size",
        "heads.place_m": "heads.bandwidth_m",
    },
}
_SWITCH = {"on": True, "off": False}
#: (new node name, parameter as it was) -> {old word: new value}
VALUES: dict[tuple[str, str], dict[Any, Any]] = {
    ("vlm_rater", "rate_each"): {"segment": "rating", "transition": "transitions"},
    ("reward_trainer", "recipe"): {"trunk": "trunk_heads", "erl": "erl_vlm"},
    ("learner", "sac.critic_layer_norm"): _SWITCH,
    ("learner", "sac.backup_entropy"): _SWITCH,
}

#: node -> {parameter: values that said "not set" before there was None}
UNSET: dict[str, dict[str, tuple[Any, ...]]] = {
    "camera": dict.fromkeys(
        ("realsense.exposure", "realsense.gain", "realsense.white_balance", "opencv.exposure"), (-1.0, -1)
    ),
    "learner": {
        "sac.hidden": ([0],),
        **{f"sac.{name}": (0,) for name in ("batch_size", "policy_delay", "target_delay")},
        **{
            f"sac.{name}": (0.0, 0)
            for name in ("actor_lr", "critic_lr", "alpha_lr", "gamma", "tau", "init_temperature")
        },
        "sac.average_rate": (-1.0, -1),
        "sac.critic_layer_norm": ("profile",),
        "sac.backup_entropy": ("profile",),
    },
    "safety_guard": {"controller_joints": ([""],), "deadman_button": (-1,)},
    "sim_bridge": {"command_timeout_s": (-1.0, -1)},
    "reward_trainer": {"n_classes": (0,)},
    "vlm_rater": {
        "n_classes": (0,),
        "human.joy_buttons": ([-1],),
        "human.joy_skip": (-1,),
        "human.joy_undo": (-1,),
        "scripted.confusion": ([0.0],),
        "rerate.variations": ([""],),
        "rerate.from_class": (-1,),
    },
    "policy_controller": {
        f"human.{name}_button": (-1,) for name in ("open", "close", "continue", "pause", "success", "failure")
    },
}


class RenamedWarning(FutureWarning):
    """An old name was used; the next version will refuse it."""


def node_name(name: str) -> str:
    """The name that a node has now."""
    new = NODES.get(name, name)
    if new != name:
        warnings.warn(f"the node '{name}' is called '{new}' now; please rename it", RenamedWarning, stacklevel=2)
    return new


def parameters(node: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with the names that the parameters of ``node`` have now, and what they were renamed with.

    Raises:
        ConfigError: a parameter is given under its old and its new name.
    """
    table = PARAMETERS.get(node, {})
    out = {
        key: VALUES.get((node, key), {}).get(value, value) if isinstance(value, str) else value
        for key, value in values.items()
    }
    for old in [key for key in out if key in table]:
        new = table[old]
        if new in out:
            text = f"{node}: '{old}' is the old name of '{new}', and both are given; leave out '{old}'"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"{node}.{old}")
        warnings.warn(f"{node}: '{old}' is called '{new}' now; please rename it", RenamedWarning, stacklevel=2)
        out[new] = out.pop(old)
    for key, once in UNSET.get(node, {}).items():
        if key in out and any(type(out[key]) is type(v) and out[key] == v for v in once):
            warnings.warn(
                f"{node}: '{key}' is {out[key]!r}, which once meant that it is not set; leave it out",
                RenamedWarning,
                stacklevel=2,
            )
            out[key] = None
    return out


def layer(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """node -> parameter -> value with the names of now.

    Raises:
        ConfigError: a node or a parameter is given under its old and its new name.
    """
    out: dict[str, dict[str, Any]] = {}
    for old, given in values.items():
        new = node_name(old)
        if new in out:
            text = f"'{old}' is the old name of '{new}', and both are given; leave out the old one"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=old)
        out[new] = parameters(new, given)
    return out
