# SPDX-License-Identifier: Apache-2.0
"""Two small requests at the start find out what an endpoint cannot do, before a robot moves and money is spent."""

from __future__ import annotations

from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.vlm.answer import PROBLEMS, Answer, Failed, GaveUp
from erl_vlm_ros.feedback.vlm.client import ChatClient
from erl_vlm_ros.feedback.vlm.dialect import EFFORT, LOGPROBS, SCHEMA, TEMPERATURE, refuses, refuses_images
from erl_vlm_ros.feedback.vlm.journal import on_disk
from erl_vlm_ros.feedback.vlm.parsing import rating_schema
from erl_vlm_ros.feedback.vlm.question import image_part

STAGE = "probe"
_SIDE = 64  # pixels of the test image


class ProbeJournal:
    """Probes are on record as attempts with what was reserved for them, and count as no rating."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def sent(self, tokens: int, money: float, currency: str) -> int:
        """A request is about to be sent; the attempt's id."""
        return await on_disk(self._ledger.add_attempt(STAGE, STAGE, tokens, money, currency))

    async def failed(self, attempt: int, failure: Failed) -> None:
        """It brought no answer."""
        await on_disk(self._ledger.end_attempt(attempt, failure.reason, failure.charged, failure.detail))

    async def answered(self, attempt: int, answer: Answer, tokens: int) -> None:
        """It brought an answer, which is of no further use."""
        await on_disk(self._ledger.end_attempt(attempt, "answered", True))


async def probe(
    client: ChatClient, ledger: Ledger, task: Task, names: list[str], model: str, params: dict[str, Any]
) -> tuple[list[str], bool]:
    """Ask about one test image with all that will be sent, and leave out what the endpoint refuses; then two images.

    Args:
        names: of the classes. params: what is sent besides (temperature, max_tokens, ...).

    Returns:
        (what it cannot do, a line each, in its own words; whether that is known now: an endpoint that is down says
        nothing). The client's dialect is set accordingly.

    Raises:
        ConfigError: the model takes no images, or the endpoint refuses even a plain question.
    """
    dialect, journal = client.dialect, ProbeJournal(ledger)
    question = _request(task, names, model, params, images=1)
    try:
        answer = await _first(client, question, journal, task, names, model)
        if answer is None:
            return [f"could not be probed ({client.last_error})"], False
        lines = [PROBLEMS[answer.problem]] if answer.problem in PROBLEMS else []
        try:
            await client.once(_request(task, names, model, params, images=2), 2, journal)
        except Failed as failure:
            if refuses(failure):
                dialect.several_images = False
                dialect.said["images"] = failure.detail
    except GaveUp as error:
        return [f"could not be probed ({error.reason})"], False
    return dialect.lines() + lines, True


async def _first(
    client: ChatClient, question: dict[str, Any], journal: ProbeJournal, task: Task, names: list[str], model: str
) -> Answer | None:
    """The answer to the first question, with less and less of what is optional; None: the endpoint does not work."""
    dialect, left_out, words = client.dialect, [], ""
    for name in ("", LOGPROBS, SCHEMA, TEMPERATURE, EFFORT):
        if name and (name not in dialect.translate(question) or (name == SCHEMA and dialect.structured)):
            continue
        if name:
            left_out.append(name)
            dialect.leave_out(name, words)
        try:
            return await client.once(question, 1, journal)
        except Failed as failure:
            words = failure.detail
            client.last_error = words or failure.reason
            if failure.reason == "no_images" or refuses_images(failure):
                break
            if not refuses(failure):
                return None
    for name in left_out:  # it was none of these
        dialect.said.pop(name, None)
        dialect.dropped.discard(name)
        if name == SCHEMA:
            dialect.structured = None
    try:
        await client.once(_request(task, names, model, {"max_tokens": question.get("max_tokens", 16)}, 0), 0, journal)
    except Failed as failure:
        if failure.reason.startswith("http_5") or not refuses(failure):
            return None
        text = (
            f"the endpoint refuses even a plain question to model '{model}' ({failure.detail}); check vlm_rater.model"
            " and vlm_rater.base_url"
        )
        raise ConfigError(text, code=Code.UNREACHABLE, parameter="vlm_rater.model") from None
    text = (
        f"model '{model}' takes no images ({words}); name a vision model in vlm_rater.model, or serve it with its"
        " vision part (llama.cpp: --mmproj)"
    )
    raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.model")


def _request(task: Task, names: list[str], model: str, params: dict[str, Any], images: int) -> dict[str, Any]:
    classes = "\n".join(f"- {name}" for name in names)
    text = (
        f'This is a test of the connection, any answer will do. A robot arm performs the task "{task.instruction}".\n'
        f"The classes, worst first:\n{classes}\nAnswer with the name of exactly one class."
    )
    jpeg = encode_jpeg(np.full((_SIDE, _SIDE, 3), 128, np.uint8), 80)
    content: Any = [*[image_part(jpeg)] * images, {"type": "text", "text": text}] if images else text
    request = {"model": model, "messages": [{"role": "user", "content": content}], **params}
    if not images:
        request.pop("logprobs", None)
    if images:
        request[SCHEMA] = rating_schema(names)
    return request
