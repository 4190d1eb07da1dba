# SPDX-License-Identifier: Apache-2.0
"""The stand-in as a process and as HTTP: what a client that knows nothing of it gets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import FaultConfig, StandinServer


class Yes:
    def answer(self, request):
        return "yes"


def post(server, body, path="/v1/chat/completions", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers or {})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, data


QUESTION = {"model": "x", "messages": [{"role": "user", "content": "?"}]}


def test_a_completion_has_the_shape_of_openais():
    with StandinServer(Yes()) as server:
        response, data = post(server, QUESTION)
        body = json.loads(data)
        assert response.status == 200
        assert body["object"] == "chat.completion"
        assert body["model"] == "x"
        assert body["choices"][0]["message"] == {"role": "assistant", "content": "yes", "refusal": None}
        assert body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"]["total_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"{not json", "/v1/chat/completions", 400),
        (b"[]", "/v1/chat/completions", 400),
        ({"messages": []}, "/v1/chat/completions", 400),
        (QUESTION, "/v1/nothing", 404),
    ],
)
def test_bad_requests_are_answered_as_such(body, path, status):
    with StandinServer(Answerer(AnswererConfig())) as server:
        response, data = post(server, body, path)
        assert response.status == status
        assert json.loads(data)["error"]["message"]


def test_a_connection_is_kept_and_several_are_served_at_once():
    with StandinServer(Yes(), latency_s=0.05) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", json.dumps(QUESTION))
            response = connection.getresponse()
            assert response.status == 200
            response.read()
            assert connection.sock is not None
        connection.close()
        assert server.requests["answered"] == 3


def test_faults_have_their_rate_and_kinds():
    kinds = ("rate_limit", "server_error", "refusal")
    with StandinServer(Yes(), faults=FaultConfig(0.3, kinds, seed=5)) as server:
        statuses = [post(server, QUESTION)[0].status for _ in range(300)]
        assert 60 <= sum(server.requests[k] for k in kinds) <= 120
        assert statuses.count(429) == server.requests["rate_limit"] > 10
        assert statuses.count(500) == server.requests["server_error"] > 10


def test_wrong_fault_options_are_refused():
    with refused(ConfigError, parameter="rate"):
        FaultConfig(1.5)
    with refused(ConfigError, parameter="faults", code=Code.UNKNOWN):
        FaultConfig(0.1, ("gremlins",))


def test_the_process_prints_its_address_serves_and_stops(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "erl_vlm_ros.standin.vlm", "--port", "0", "--error-rate", "0.2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = json.loads(process.stdout.readline())
        assert told["base_url"] == f"http://127.0.0.1:{told['port']}/v1"
        connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=5)
        connection.request("GET", "/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == "stand-in"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--error-rate", "2"], "error_rate"),
        (["--faults", "gremlins", "--fault-rate", "0.1"], "gremlins"),
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY"),
    ],
)
def test_wrong_options_end_the_process_with_one_line(options, word):
    environment = {k: v for k, v in os.environ.items() if k != "NO_SUCH_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "erl_vlm_ros.standin.vlm", "--port", "0", *options],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_closing_does_not_wait_for_hanging_requests():
    server = StandinServer(Yes(), faults=FaultConfig(1.0, ("hang",), hang_s=60.0))
    with server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/v1/chat/completions", json.dumps(QUESTION))
        time.sleep(0.2)
        start = time.monotonic()
    assert time.monotonic() - start < 3.0
    connection.close()
