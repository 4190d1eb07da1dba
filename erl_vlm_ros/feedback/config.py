# SPDX-License-Identifier: Apache-2.0
"""What the rater is told: endpoint, limits, prompts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from erl_vlm_ros.errors import ConfigError


@dataclass(frozen=True)
class RaterConfig:
    """Parameters of :class:`~erl_vlm_ros.feedback.rater.VlmRater`.

    Raises:
        ConfigError: a value is out of its range; names the parameter.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = "stand-in"
    api_key_env: str = ""  # NAME of the environment variable with the key; empty: the endpoint needs none
    n_classes: int = 0  # 2..5; 0: as the task says
    two_stage: bool = True  # analysis of the images, then a class from the analysis; False: both in one query
    prompts: str = "default"  # a set in config/prompts, or a folder
    concurrency: int = 8  # ratings in flight
    max_queries: int = 1000  # budget in ratings, over the whole ledger
    timeout_s: float = 60.0  # of one attempt
    max_retries: int = 5
    backoff_s: float = 0.5
    temperature: float = 0.0
    max_tokens: int = 512  # of one answer
    seed: int = 0  # of the back-off jitter

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(
                f"base_url must be an http(s) address such as http://127.0.0.1:8000/v1, got '{self.base_url}'"
            )
        if url.username or url.password or url.query:
            raise ConfigError("base_url must not hold a key, password or query; name the key's variable in api_key_env")
        if not self.model:
            raise ConfigError("model must name a model of the endpoint")
        ranges = {
            "concurrency": (1, 1024),
            "max_queries": (0, 10**9),
            "timeout_s": (0.05, 3600.0),
            "max_retries": (0, 100),
            "backoff_s": (0.0, 60.0),
            "temperature": (0.0, 2.0),
            "max_tokens": (1, 100_000),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be from {low} to {high}, got {value}")
        if self.n_classes and not 2 <= self.n_classes <= 5:
            raise ConfigError(f"n_classes must be from 2 to 5, or 0 for the task's own, got {self.n_classes}")
