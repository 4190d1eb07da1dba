# SPDX-License-Identifier: Apache-2.0
"""A real OpenAI-compatible server in front: LiteLLM's proxy, with mock answers and with the stand-in behind it.

Needs `pip install 'litellm[proxy]'` in an environment of its own (its pins differ from ours); ERL_LITELLM names its
`litellm` program. Skipped where there is none.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from refusals import refused

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer

PROGRAM = os.environ.get("ERL_LITELLM") or shutil.which("litellm") or ""
pytestmark = pytest.mark.skipif(not Path(PROGRAM).is_file(), reason="no LiteLLM proxy; ERL_LITELLM names one")
KEY, SECRET = "LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789abcdef"
ANSWERS = {
    "bare": ("Good", ""),
    "labelled": ("It stands open.\n\nRating: Good", ""),
    "thinking": ("<think>Bad?</think>Good", ""),
    "sentence": ("That is far from Good", "unreadable"),
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("litellm")
    with StandinServer(Answerer(AnswererConfig())) as standin, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        models = {
            name: {"model": "openai/mock", "api_key": "x", "mock_response": text} for name, (text, _) in ANSWERS.items()
        }
        models["behind"] = {"model": "openai/stand-in", "api_key": "x", "api_base": standin.base_url}
        config = {"model_list": [{"model_name": name, "litellm_params": p} for name, p in models.items()]}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        free.close()
        command = [PROGRAM, "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            KEY: SECRET,
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            deadline = time.monotonic() + 240.0
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).read()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", standin
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


@pytest.fixture
def rater(proxy, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setenv(KEY, SECRET)

    def make(model, **options):
        ledger = Ledger(tmp_path / f"{model}.sqlite")
        defaults = {"base_url": proxy[0], "n_classes": 3, "two_stage": False, "api_key_env": KEY}
        config = RaterConfig(model=model, **{**defaults, **options})
        opened.extend([ledger, VlmRater(config, load_task("drawer_open"), ledger)])
        return opened[-1]

    yield make
    for thing in reversed(opened):
        thing.close()


def batch(count):
    rng = np.random.default_rng(0)
    jpegs = [encode_jpeg(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]
    return QueryBatch.of(
        0,
        [Segment(f"e0_t{i}_h1", [j], np.zeros((1, 10)), np.zeros((1, 3)), np.array([i])) for i, j in enumerate(jpegs)],
    )


@pytest.mark.parametrize("model", list(ANSWERS))
def test_mock_answers(rater, model):
    teacher = rater(model)
    assert set(ANSWERS) <= set(teacher.check_endpoint())
    text, reason = ANSWERS[model]
    labels = teacher.label_batch(batch(3)).labels
    assert [(label.value, label.reason) for label in labels] == [(-1, reason) if reason else (2, "")] * 3
    assert teacher.stats()["spent_tokens"] > 0


def test_a_model_behind_it_rates_as_it_does_alone(rater, proxy):
    teacher = rater("behind", two_stage=True)
    teacher.check_endpoint()
    through = [label.value for label in teacher.label_batch(batch(4)).labels]
    alone = rater("stand-in", two_stage=True, base_url=proxy[1].base_url)
    assert through == [label.value for label in alone.label_batch(batch(4)).labels] and -1 not in through


def test_an_unknown_model_is_refused_at_start(rater):
    with refused(ConfigError, parameter="vlm_rater.model", shows="nobody"):
        rater("nobody").check_endpoint()
