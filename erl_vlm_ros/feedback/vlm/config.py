# SPDX-License-Identifier: Apache-2.0
"""How a model is asked: endpoint, prompts, limits. Parameters of vlm_rater; docs/ratings.md explains them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from erl_vlm_ros.common.config import config, setting
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.secrets import address_problem, variable_problem


@config("vlm_rater")
class RaterConfig:
    """Parameters of :class:`~erl_vlm_ros.feedback.vlm.rater.VlmRater`.

    Raises:
        ConfigError: a value is out of its range; names the parameter.
    """

    base_url: str = setting("http://127.0.0.1:8000/v1", "OpenAI-compatible endpoint.")
    model: str = setting("stand-in", "Name of the model at the endpoint.")
    api_key_env: str = setting("", "NAME of the environment variable with the API key; empty: the endpoint needs none.")
    n_classes: int | None = setting(None, "Rating classes; not set: as the task file says.", low=2, high=5)
    two_stage: bool = setting(
        True, "Ask for an analysis of the images first, then for a class; false: both in one query."
    )
    prompts: str = setting("default", "Prompt set in config/prompts, or a folder of templates.")
    class_words: Literal["described", "names"] = setting(
        "described", "Classes in the prompt: with their descriptions, or by their names alone, as in the paper."
    )
    frames: Literal["images", "strip"] = setting(
        "images", "Segments of several frames: an image each, or one strip with all side by side."
    )
    feedback: str = setting("rating", "What is asked: a kind of feedback.")
    rater_cameras: tuple[str, ...] | None = setting(
        None,
        "The cameras whose images are rated, some of cameras; several: views of one moment, told apart in the prompt; "
        "not set: the first.",
    )
    shown_frames: int = setting(
        0,
        "Frames of a segment that are shown, evenly spread, the first and the last among them; 0: all.",
        low=0,
        high=64,
    )
    modalities: tuple[Literal["none", "wrench", "gripper", "effort"], ...] = setting(
        ("none",), "What prompts tell besides the images: wrench, gripper, effort; none."
    )
    modality_form: Literal["text", "plot"] = setting("text", "Tell it in words, or as a plot over the frames.")
    concurrency: int = setting(8, "Ratings asked for at the same time.", low=1, high=1024)
    max_queries: int = setting(100_000, "Budget in ratings over the whole ledger.", low=0, high=10**9)
    max_total_tokens: int = setting(0, "Budget in tokens over the whole ledger; 0: none.", low=0, high=10**12)
    max_money: float = setting(
        0.0, "Budget in the price table's currency over the whole ledger; 0: none.", low=0.0, high=1e9
    )
    prices: str = setting("", "Price table (YAML); empty: the shipped config/prices.yaml.")
    requests_per_minute: int = setting(0, "Requests in any 60 s; 0: no limit.", low=0, high=10**6)
    tokens_per_minute: int = setting(0, "Tokens in any 60 s; 0: no limit.", low=0, high=10**9)
    timeout_s: float = setting(60.0, "Time limit of one attempt to the last byte, s.", low=0.05, high=3600.0)
    max_retries: int = setting(5, "Attempts after the first one.", low=0, high=100)
    backoff_s: float = setting(0.5, "First pause before another attempt, s; it doubles each time.", low=0.0, high=60.0)
    give_up_s: float = setting(
        600.0,
        "Longest that one stage of a rating may take with all its waiting, s; then there is no rating.",
        low=0.1,
        high=86_400.0,
    )
    breaker_failures: int = setting(
        10, "Failures in a row until nothing is sent for a while; 0: never.", low=0, high=10**6
    )
    breaker_pause_s: float = setting(
        5.0, "Pause until the endpoint is tried again, s; doubles up to a minute.", low=0.01, high=3600.0
    )
    when_down: Literal["wait", "no_rating"] = setting(
        "wait", "Ratings while the endpoint is down: wait up to give_up_s, or no_rating at once."
    )
    structured_output: Literal["auto", "on", "off"] = setting(
        "auto", "Answers by JSON schema: auto finds out once and remembers it in the ledger."
    )
    temperature: float = setting(
        0.0, "Sampling temperature; below 0: not sent, for models that take none.", low=-1.0, high=2.0
    )
    logprobs: bool = setting(
        False,
        "Ask for the probabilities of the class's tokens: they become a soft label, where the endpoint gives them.",
    )
    reasoning_effort: Literal["", "none", "minimal", "low", "medium", "high"] = setting(
        "", "For models that think before they answer; empty: not sent. Thinking counts against max_tokens."
    )
    max_tokens: int = setting(512, "Longest answer, tokens.", low=1, high=100_000)
    seed: int = setting(0, "Seed of the pauses' jitter.", low=0, high=2**31 - 1)

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
        for name in ("modalities", "rater_cameras"):
            entries = getattr(self, name) or ()
            if len(set(entries)) != len(entries):
                raise ConfigError(f"{name} {list(entries)} names one twice", parameter=f"vlm_rater.{name}")
