# SPDX-License-Identifier: Apache-2.0
"""What an endpoint cannot do is found out at the start, remembered, and told; a model without images is refused."""

from __future__ import annotations

import json
import logging

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.answer import PROBLEMS, read_answer
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.endpoint import Endpoint
from erl_vlm_ros.feedback.vlm.network import proxy_for
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.runs.check_rater import _settings
from erl_vlm_ros.standin.server import StandinServer


class Refusing:
    """Answers Good, or what ``refuse(request)`` says: (status, words)."""

    def __init__(self, refuse):
        self.refuse, self.requests = refuse, []

    def answer(self, request):
        self.requests.append(request)
        return "Good"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    from erl_vlm_ros.standin import server as module

    opened, ledger = [], Ledger(tmp_path / "l.sqlite")
    old = module._Handler._answer

    def make(refuse, **options):
        answerer = Refusing(refuse)

        def answer(handler, request, text, fault, *more):
            refused = handler.server.owner.answerer.refuse(request)
            if refused:
                handler._error(*refused)
            else:
                old(handler, request, text, fault, *more)

        monkeypatch.setattr(module._Handler, "_answer", answer)
        server = StandinServer(answerer)
        server.__enter__()
        opened.append(server)
        config = RaterConfig(base_url=server.base_url, **{"model": "m", "n_classes": 3, "timeout_s": 5.0, **options})
        rater = VlmRater(config, load_task("drawer_open"), ledger)
        opened.append(rater)
        return answerer, rater

    yield make
    for thing in reversed(opened):
        thing.close()
    ledger.close()


def images(request):
    content = request["messages"][0]["content"]
    return 0 if isinstance(content, str) else sum(part["type"] == "image_url" for part in content)


def test_an_endpoint_that_takes_all_is_asked_twice_and_never_again(bench):
    answerer, rater = bench(lambda request: None)
    rater.check_endpoint()
    assert [images(r) for r in answerer.requests] == [1, 2] and "response_format" in answerer.requests[0]
    assert rater._client.dialect.said == {} and rater.stats()["spent_queries"] == 0
    rater.check_endpoint()
    assert len(answerer.requests) == 2


@pytest.mark.parametrize(
    ("status", "words", "key", "left"),
    [
        (400, "response_format is not supported", "response_format", "response_format"),
        (404, "no such thing", "response_format", "response_format"),
        (500, "internal", "response_format", "response_format"),
        (400, "Unsupported value: 'temperature' does not support 0", "temperature", "temperature"),
        (400, "Use 'max_completion_tokens' instead", "max_tokens", "max_tokens"),
        (422, "unknown field reasoning_effort", "reasoning_effort", "reasoning_effort"),
        (500, "oops", "temperature", "temperature"),
    ],
)
def test_what_is_refused_is_left_out_remembered_and_told(bench, caplog, status, words, key, left):
    caplog.set_level(logging.WARNING)
    answerer, rater = bench(lambda request: (status, words) if key in request else None, reasoning_effort="low")
    rater.check_endpoint()
    assert rater._client.dialect.said.keys() >= {left} and words in caplog.text
    assert key not in answerer.requests[-1]
    count = len(answerer.requests)
    rater.check_endpoint()
    assert len(answerer.requests) == count


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (404, "No endpoints found that support image input"),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (500, "internal server error"),
    ],
)
def test_a_model_without_images_is_refused_at_once(bench, status, words):
    answerer, rater = bench(lambda request: (status, words) if images(request) else None)
    with pytest.raises(ConfigError) as caught:
        rater.check_endpoint()
    assert words[:40] in str(caught.value) and "vlm_rater.model" in str(caught.value) and len(answerer.requests) <= 6


def test_one_image_a_request_becomes_a_strip(bench):
    answerer, rater = bench(
        lambda request: (400, "At most 1 image(s) may be provided") if images(request) > 1 else None
    )
    rater.check_endpoint()
    assert rater._questions._cfg.frames == "strip"


def test_a_wrong_model_is_refused_and_an_outage_is_not(bench):
    _, rater = bench(lambda request: (404, "model m does not exist"))
    with refused(parameter="vlm_rater.model", code=Code.UNREACHABLE, shows="model m does not exist"):
        rater.check_endpoint()
    _, rater = bench(lambda request: (503, "loading"))
    rater.check_endpoint()
    assert rater._client.dialect.structured is None and rater._client.dialect.dropped == set()


def completion(message, finish="stop"):
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


@pytest.mark.parametrize(
    ("message", "finish", "problem"),
    [
        ({"content": None, "reasoning_content": "Good"}, "stop", "answer_in_reasoning"),
        ({"content": "", "reasoning": "Good"}, "stop", "answer_in_reasoning"),
        ({"content": None, "tool_calls": [{"function": {"name": "rate"}}]}, "tool_calls", "tool_call"),
        ({"content": None}, "stop", "empty"),
        ({"content": "<think>so Good"}, "length", "thinking_cut_short"),
        ({"content": None, "reasoning_content": "so"}, "length", "thinking_cut_short"),
        ({"content": "The drawer is"}, "length", "cut_short"),
        ({"content": "<think>so Good</think>"}, "stop", "thinking_only"),
        ({"content": "<think>so Bad</think>Good"}, "stop", ""),
    ],
)
def test_why_an_answer_is_no_use_has_a_name_and_an_advice(message, finish, problem):
    assert read_answer(completion(message, finish), 0.0).problem == problem
    assert problem == "" or PROBLEMS[problem]


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTPS_PROXY", "https_proxy"])
def test_a_proxy_that_cannot_be_used_is_named(no_proxies, variable):
    no_proxies.setenv(variable, "socks://user:secret@proxy:1080")
    with refused(ConfigError, parameter=variable) as caught:
        Endpoint("https://api.example.com/v1", "", 1.0, 1)
    assert "secret" not in str(caught.value)
    no_proxies.setenv("NO_PROXY", "api.example.com")
    Endpoint("https://api.example.com/v1", "", 1.0, 1)
    no_proxies.setenv("NO_PROXY", ".example.com")
    assert proxy_for("https://api.example.com/v1") is None


def test_a_good_proxy_is_used(no_proxies):
    no_proxies.setenv("ALL_PROXY", "http://proxy:3128")
    assert proxy_for("https://api.example.com/v1") == "http://proxy:3128"


def test_a_stale_certificate_file_is_named(no_proxies):
    no_proxies.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with refused(ConfigError, parameter="SSL_CERT_FILE", code=Code.MISSING_FILE, file="/nowhere/ca.pem"):
        Endpoint("https://api.example.com/v1", "", 1.0, 1)
    Endpoint("http://api.example.com/v1", "", 1.0, 1)


def test_check_rater_takes_every_setting_of_the_rater():
    assert _settings(["max_tokens=2000", "vlm_rater.reasoning_effort=low", "structured_output=off"]) == {
        "max_tokens": 2000, "reasoning_effort": "low", "structured_output": "off",
    }  # fmt: skip
    for wrong in ("max_token=3", "ledger=x", "max_tokens=0"):
        with pytest.raises(ConfigError):
            _settings([wrong])
