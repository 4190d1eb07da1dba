# SPDX-License-Identifier: Apache-2.0
"""From the rater's parameters to its client: prices, budget, limits, and what the ledger knows of the endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.limits.breaker import CircuitBreaker
from erl_vlm_ros.feedback.limits.budget import Budget
from erl_vlm_ros.feedback.limits.costs import Costs
from erl_vlm_ros.feedback.limits.gate import Gate
from erl_vlm_ros.feedback.limits.pacing import WINDOW_S, Pacer
from erl_vlm_ros.feedback.limits.prices import Price, load_prices
from erl_vlm_ros.feedback.vlm.client import ChatClient
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.dialect import Dialect

if TYPE_CHECKING:
    from erl_vlm_ros.feedback.vlm.endpoint import Endpoint


def make_client(cfg: RaterConfig, ledger: Ledger) -> tuple[ChatClient, Endpoint]:
    """The client and its endpoint. ConfigError: key, price table or budget make no sense."""
    # the openai client takes longer to import than all of ours: who asks no model does not wait for it
    from erl_vlm_ros.feedback.vlm.endpoint import Endpoint, read_api_key

    price = _price(cfg, ledger)
    costs = Costs(price, float(ledger.fact(_fact("token_scale", cfg)) or 1.0))
    budget = Budget(ledger.spending, cfg.max_queries, cfg.max_total_tokens, cfg.max_money, costs.currency)
    pacer = Pacer(cfg.requests_per_minute, cfg.tokens_per_minute)
    if cfg.requests_per_minute or cfg.tokens_per_minute:
        for age_s, tokens in ledger.recent_attempts(WINDOW_S):
            pacer.take(tokens, age_s)
    breaker = CircuitBreaker(cfg.breaker_failures, cfg.breaker_pause_s)
    gate = Gate(breaker, budget, pacer, cfg.when_down == "wait", cfg.give_up_s)
    endpoint = Endpoint(cfg.base_url, read_api_key(cfg.api_key_env), cfg.timeout_s, cfg.concurrency)
    dialect = Dialect({"on": True, "off": False}.get(cfg.structured_output))
    if cfg.structured_output == "auto":
        dialect.structured = {"1": True, "0": False}.get(ledger.fact(_fact("structured", cfg)) or "")
    dialect.dropped = set((ledger.fact(_fact("left_out", cfg)) or "").split())
    dialect.several_images = ledger.fact(_fact("several_images", cfg)) != "0"
    dialect.new_limit_name = ledger.fact(_fact("new_limit_name", cfg)) == "1"
    client = ChatClient(endpoint, gate, costs, dialect, cfg.max_retries, cfg.backoff_s, cfg.give_up_s, cfg.seed)
    client.remembered = _facts(client)
    return client, endpoint


def remember(client: ChatClient, ledger: Ledger, cfg: RaterConfig) -> None:
    """Keep in the ledger what the client has found out about its endpoint since the last time."""
    for name, value in _facts(client).items():
        if client.remembered.get(name) != value:
            ledger.remember(_fact(name, cfg), value)
            client.remembered[name] = value


def probed(ledger: Ledger, cfg: RaterConfig) -> bool:
    """Whether it was found out before what this endpoint can do with these settings."""
    return ledger.fact(_probe_fact(cfg)) is not None


def remember_probe(ledger: Ledger, cfg: RaterConfig) -> None:
    """Keep in the ledger that it was."""
    ledger.remember(_probe_fact(cfg), "1")


def _probe_fact(cfg: RaterConfig) -> str:
    return _fact(f"probed {cfg.temperature} {cfg.reasoning_effort} {cfg.structured_output} {cfg.logprobs}", cfg)


def _facts(client: ChatClient) -> dict[str, str]:
    facts = {"token_scale": f"{client.costs.scale:.3f}", "new_limit_name": str(int(client.dialect.new_limit_name))}
    facts["left_out"] = " ".join(sorted(client.dialect.dropped))
    facts["several_images"] = str(int(client.dialect.several_images))
    if client.dialect.structured is not None:
        facts["structured"] = str(int(client.dialect.structured))
    return facts


def _fact(name: str, cfg: RaterConfig) -> str:
    return f"{name} {cfg.base_url} {cfg.model}"


def _price(cfg: RaterConfig, ledger: Ledger) -> Price | None:
    prices = load_prices(cfg.prices)
    price = prices.get(cfg.model)
    if cfg.max_money and price is None:
        raise ConfigError(
            f"max_money is {cfg.max_money:g} but the price table {cfg.prices or 'config/prices.yaml'} has no model"
            f" '{cfg.model}' (it has: {', '.join(prices)}); add it there, or set max_money to 0",
            code=Code.UNKNOWN,
            parameter="vlm_rater.max_money",
            file=str(cfg.prices or "config/prices.yaml"),
        )
    if cfg.max_money and price:
        others = [c for c, money in ledger.spending.money.items() if money and c != price.currency]
        if others:
            text = (
                f"max_money is in {price.currency} but ledger {ledger.path} holds costs in {', '.join(others)};"
                " use one currency in a ledger, or set max_money to 0"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.max_money", file=str(ledger.path))
    return price
