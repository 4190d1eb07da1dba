# SPDX-License-Identifier: Apache-2.0
"""Parameters of standin_vlm, the stand-in for a vision-language model. It is a plain process, not a ROS node: these
become its command-line options."""

from __future__ import annotations

from erl_vlm_ros.params.param import Param

PARAMETERS = (
    Param("host", "127.0.0.1", "Address to listen on."),
    Param("port", 8000, "Port to listen on.", low=0, high=65_535),
    Param("task", "", "The task, where prompts do not tell it."),
    Param("robot", "", "Robot file of the arm in the scene, where it is not the built-in one. The graph sets it."),
    Param("error_rate", 0.2, "Share of answers that are another class, drawn per question.", low=0.0, high=1.0),
    Param(
        "errors", "any", "Direction of all its errors: any, or ratings that are too high, or too low, only.",
        choices=("any", "over", "under"),
    ),
    Param(
        "blind", False,
        "The gripper hides from it whether a drawer is open by a crack; vlm_rater.modalities: wrench tells.",
    ),
    Param("systematic_rate", 0.0, "Share of view clusters that are always misjudged.", low=0.0, high=1.0),
    Param(
        "sharing", 0.5, "Share of the systematic errors that a variation of the question has in common.",
        low=0.0, high=1.0,
    ),
    Param("order_bias", 0.0, "Share of comparisons answered with the first, whatever is shown.", low=0.0, high=1.0),
    Param("noise_model", "", "File of `erl-vlm check-rater` in place of the three rates; empty: none."),
    Param("seed", 0, "Seed of both kinds of error and of the faults.", low=0, high=2**31 - 1),
    Param("latency", 0.0, "Seconds added to every answer.", low=0.0, high=600.0),
    Param("fault_rate", 0.0, "Share of requests that meet an HTTP fault.", low=0.0, high=1.0),
    Param("faults", "", "Comma-separated kinds of fault; empty: all."),
    Param("no_schema", False, "Refuse response_format with HTTP 400."),
    Param("api_key_env", "", "Environment variable with a key that requests must carry; empty: none."),
)  # fmt: skip
