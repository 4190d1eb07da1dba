# SPDX-License-Identifier: Apache-2.0
"""The price table: what tokens cost at each model, read strictly."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.yaml_file import read_yaml

_REQUIRED = ("currency", "input", "output", "checked", "source")
_OPTIONAL = ("image", "image_tokens")
_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Prices of one model, in ``currency`` for a million tokens."""

    currency: str  # three capital letters, for example USD
    input: float
    output: float
    image: float  # of the image's part of the input; as ``input`` unless the provider has another price
    image_tokens: int  # the most that one image takes; 0: not known
    checked: str  # date of the figures, YYYY-MM-DD
    source: str  # where they come from

    def cost(self, tokens_in: int, tokens_out: int, images: int) -> float:
        """Price of one request. Where images have another price, its dearer part is taken for all of ``tokens_in``
        that images can have taken: rather too much than too little."""
        of_images = 0
        if images and self.image > self.input:
            of_images = min(tokens_in, images * self.image_tokens) if self.image_tokens else tokens_in
        text = tokens_in - of_images
        return (of_images * self.image + text * self.input + tokens_out * self.output) / _MILLION


def load_prices(path: str | Path = "") -> dict[str, Price]:
    """Model name -> price; the shipped ``config/prices.yaml`` when no path is given.

    Raises:
        ConfigError: not readable, or a key is unknown, missing or of the wrong kind; names file, line and key.
    """
    file = Path(path) if path else resource("config/prices.yaml")
    _, node = read_yaml(file, f"parameter 'prices': price table {file}", "vlm_rater.prices")
    table = _Table(file)
    top = table.mapping(node, "")
    if set(top) != {"models"}:
        table.fail(node, "", "expected exactly the key models")
    return {name: table.price(name, entry) for name, entry in table.mapping(top["models"], "models").items()}


class _Table:
    """Walks YAML nodes, which know their lines."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def fail(self, node: Any, key: str, words: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        text = f"{self._file}:{line}: {key + ': ' if key else ''}{words}"
        raise ConfigError(text, code=Code.VALUE, parameter=key, file=f"{self._file}:{line}")

    def mapping(self, node: Any, key: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, key, "expected a mapping")
        found: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or not name.value:
                self.fail(name, key, "a key must be a name")
            if name.value in found:
                self.fail(name, key, f"{name.value} is there twice")
            found[name.value] = value
        return found

    def price(self, model: str, node: Any) -> Price:
        key = f"models.{model}"
        entry = self.mapping(node, key)
        for name in entry:
            if name not in _REQUIRED + _OPTIONAL:
                self.fail(entry[name], f"{key}.{name}", f"unknown; known: {', '.join(_REQUIRED + _OPTIONAL)}")
        for name in _REQUIRED:
            if name not in entry:
                self.fail(node, f"{key}.{name}", "is missing")
        currency = self._scalar(entry["currency"], f"{key}.currency")
        if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
            self.fail(entry["currency"], f"{key}.currency", f"expected capital letters such as USD, got {currency}")
        checked = self._scalar(entry["checked"], f"{key}.checked")
        if not isinstance(checked, datetime.date):
            self.fail(entry["checked"], f"{key}.checked", f"expected a date such as 2026-11-01, got {checked}")
        source = self._scalar(entry["source"], f"{key}.source")
        if not isinstance(source, str) or not source:
            self.fail(entry["source"], f"{key}.source", "expected where the prices come from")
        amounts = {n: self._amount(entry[n], f"{key}.{n}") for n in ("input", "output", "image") if n in entry}
        tokens = self._scalar(entry["image_tokens"], f"{key}.image_tokens") if "image_tokens" in entry else 0
        if type(tokens) is not int or not 0 <= tokens <= 10**6:
            self.fail(entry["image_tokens"], f"{key}.image_tokens", f"expected a whole number, got {tokens}")
        amounts.setdefault("image", amounts["input"])
        return Price(currency, image_tokens=tokens, checked=str(checked), source=source, **amounts)

    def _amount(self, node: Any, key: str) -> float:
        value = self._scalar(node, key)
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 10**6:
            self.fail(node, key, f"expected a price for a million tokens, 0 or more, got {value}")
        return float(value)

    def _scalar(self, node: Any, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.fail(node, key, "expected a single value")
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node)
        except ValueError as error:
            return self.fail(node, key, str(error))
        finally:
            loader.dispose()
