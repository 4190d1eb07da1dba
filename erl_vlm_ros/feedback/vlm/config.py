# SPDX-License-Identifier: Apache-2.0
"""The rater's configuration: endpoint, limits, prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.secrets import address_problem, variable_problem
from erl_vlm_ros.feedback.vlm.modalities import check_modalities

_CHOICES = {
    "when_down": ("wait", "no_rating"),
    "structured_output": ("auto", "on", "off"),
    "frames": ("images", "strip"),
    "modality_form": ("text", "plot"),
    "reasoning_effort": ("", "none", "minimal", "low", "medium", "high"),
}

_RANGES: dict[str, tuple[float, float]] = {
    "shown_frames": (0, 64),
    "concurrency": (1, 1024),
    "max_queries": (0, 10**9),
    "max_total_tokens": (0, 10**12),
    "max_money": (0.0, 10**9),
    "requests_per_minute": (0, 10**6),
    "tokens_per_minute": (0, 10**9),
    "timeout_s": (0.05, 3600.0),
    "max_retries": (0, 100),
    "backoff_s": (0.0, 60.0),
    "give_up_s": (0.1, 86_400.0),
    "breaker_failures": (0, 10**6),
    "breaker_pause_s": (0.01, 3600.0),
    "temperature": (-1.0, 2.0),
    "max_tokens": (1, 100_000),
}


@dataclass(frozen=True)
class RaterConfig:
    """Parameters of :class:`~erl_vlm_ros.feedback.vlm.rater.VlmRater`; docs/ratings.md explains them.

    Raises:
        ConfigError: a value is out of its range; names the parameter.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = "stand-in"
    api_key_env: str = ""  # NAME of the environment variable with the key; empty: the endpoint needs none
    n_classes: int | None = None  # 2..5; None: as the task says
    two_stage: bool = True  # analysis of the images, then a class from the analysis; False: both in one query
    prompts: str = "default"  # a set in config/prompts, or a folder
    frames: str = "images"  # of a segment with several: an image each, or a strip with all side by side
    feedback: str = "rating"  # kind of feedback that is asked for
    shown_frames: int = 0  # of a segment, evenly spread; 0: all
    rater_cameras: Sequence[str] | None = None  # whose images are shown; None: the first camera's
    modalities: Sequence[str] = ("none",)  # given besides the images: wrench, gripper, effort
    modality_form: str = "text"  # or plot
    concurrency: int = 8  # ratings in flight
    max_queries: int = 1000  # budget in ratings, over the whole ledger
    max_total_tokens: int = 0  # budget in tokens, over the whole ledger; 0: none
    max_money: float = 0.0  # budget in the price table's currency, over the whole ledger; 0: none
    prices: str = ""  # price table; empty: the shipped one
    requests_per_minute: int = 0  # 0: no limit
    tokens_per_minute: int = 0  # 0: no limit
    timeout_s: float = 60.0  # of one attempt, to the last byte
    max_retries: int = 5
    backoff_s: float = 0.5
    give_up_s: float = 600.0  # of one stage of a rating with all its waiting; also how long an outage is waited for
    breaker_failures: int = 10  # in a row, until nothing is sent for a while; 0: never
    breaker_pause_s: float = 5.0  # until the first probe; doubles up to a minute
    when_down: str = "wait"  # while the breaker is open: wait (up to give_up_s), or no_rating at once
    structured_output: str = "auto"  # JSON schema: find out once, on, or off
    temperature: float = 0.0  # below 0: not sent, for models that take none
    logprobs: bool = False  # ask for the tokens' probabilities: they become a soft label
    reasoning_effort: str = ""  # for models that think before they answer; empty: not sent
    max_tokens: int = 512  # of one answer
    seed: int = 0  # of the back-off jitter

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(
                f"base_url must be an http(s) address such as http://127.0.0.1:8000/v1, got '{self.base_url}'",
                parameter="vlm_rater.base_url",
            )
        for name, problem in (
            ("base_url", address_problem(self.base_url)),
            ("api_key_env", variable_problem(self.api_key_env)),
        ):
            if problem:
                raise ConfigError(f"{name} {problem}", code=Code.SECRET, parameter=f"vlm_rater.{name}")
        if not self.model:
            raise ConfigError(
                "model must name a model of the endpoint", code=Code.NOT_GIVEN, parameter="vlm_rater.model"
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"{name} must be from {low} to {high}, got {value}", parameter=f"vlm_rater.{name}")
        if self.n_classes is not None and not 2 <= self.n_classes <= 5:
            raise ConfigError(
                f"n_classes must be from 2 to 5, got {self.n_classes}",
                parameter="vlm_rater.n_classes",
            )
        check_modalities(self.modalities)
        if len(set(self.rater_cameras or ())) != len(self.rater_cameras or ()):
            raise ConfigError(
                f"rater_cameras {list(self.rater_cameras)}: a camera is named twice",
                parameter="vlm_rater.rater_cameras",
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = ", ".join(choice or "''" for choice in choices)
                raise ConfigError(
                    f"{name} must be one of {allowed}, got '{getattr(self, name)}'", parameter=f"vlm_rater.{name}"
                )
