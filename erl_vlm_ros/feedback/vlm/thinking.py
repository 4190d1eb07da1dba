# SPDX-License-Identifier: Apache-2.0
"""What a model thinks aloud before it answers, and what its chat template leaves in the text: neither is an answer."""

from __future__ import annotations

import re
import unicodedata

_NAMES = r"(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_PAIRS = (
    re.compile(rf"<\s*({_NAMES})\b[^<>]*>.*?<\s*/\s*\1\s*>", re.DOTALL | re.IGNORECASE),
    re.compile(r"\[THINK\].*?\[/THINK\]", re.DOTALL),
    re.compile(r"<\|channel>thought\b.*?<channel\|>", re.DOTALL),
    re.compile(r"◁think▷.*?◁/think▷", re.DOTALL),
)
_OPEN = re.compile(rf"<\s*{_NAMES}\b[^<>/]*>|\[THINK\]|<\|channel>thought\b|◁think▷", re.IGNORECASE)
_CLOSE = re.compile(rf"<\s*/\s*{_NAMES}\s*>|\[/THINK\]|<channel\|>|◁/think▷", re.IGNORECASE)
_FINAL = re.compile(r"<\|channel\|>\s*final\b.*?<\|message\|>", re.DOTALL)  # harmony's channels
_CHANNEL = re.compile(r"<\|channel\|>")
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")
_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?(?:s|bos|eos|pad|end_of_turn|start_of_turn|end_of_utterance)>|\[/?INST\]")


def without_thinking(text: str) -> str:
    """The answer without the thinking before it.

    A block whose opening tag the template swallowed ends at its closing tag; one that is never closed leaves nothing,
    for what was being thought is not what would have been said.
    """
    finals = list(_FINAL.finditer(text))
    if finals:
        text = text[finals[-1].end() :]
    elif _CHANNEL.search(text):
        return ""
    for pair in _PAIRS:
        text = pair.sub("", text)
    closed = list(_CLOSE.finditer(text))
    if closed:
        text = text[closed[-1].end() :]
    return "" if _OPEN.search(text) else text.strip()


def answer_text(text: str) -> str:
    """The answer in plain characters (NFKC): no thinking, and a line break where a template's token stands.

    What a model writes after such a token belongs to another turn; the line break keeps it apart.
    """
    text = unicodedata.normalize("NFKC", _BOX.sub("", without_thinking(text)))
    return _TOKEN.sub("\n", text).strip()
