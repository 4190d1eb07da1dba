# SPDX-License-Identifier: Apache-2.0
"""Which of several names a text states as its choice; None of them unless the text has the form of a choice.

No word is understood, in any language, but the few labels below. A sentence in which a name occurs says nothing: it may
deny it, doubt it, or speak of the image's quality. Accepted are the name and nothing else, ``LABEL: NAME`` on a line of
its own, and a name alone on the last line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from erl_vlm_ros.common.tasks import plain_words

LABELS = (
    "rating", "class", "answer", "score", "grade", "bewertung", "klasse", "antwort", "calificación", "calificacion",
    "clase", "respuesta", "등급", "평가", "평점", "답", "답변", "정답", "클래스", "评级", "等级", "类别", "评分",
    "答案", "回答", "評価", "分類", "クラス", "classe", "réponse", "évaluation",
    "preference", "choice", "präferenz", "auswahl", "preferencia", "elección", "eleccion", "préférence", "choix",
    "偏好", "选择", "選択", "선호", "선택",
)  # fmt: skip
_QUALIFIERS = (
    "the", "my", "final", "overall", "chosen", "selected", "die", "meine", "endgültige", "abschließende", "finale",
    "la", "mi", "definitiva", "ma", "est", "최종", "나의", "제",
    "我的", "最终", "最後の", "最終",
    "is", "ist", "lautet", "es", "是", "为", "은", "는",
)  # fmt: skip
_OPEN = r"\s*_\"'“”„‘’«»‹›「」『』《》【】()\[\]{}<>`#•·$✅✓✔☑-"
_CLOSE = r"\s*_\"'“”‘’«»‹›「」『』《》【】()\[\]{}`$✅✓✔☑"
_SENTENCE = ".!?。)]}\"'”’»」』*_`|#>"  # ends of a line after which something new begins
_QUALIFIER = rf"(?:(?:{'|'.join(_QUALIFIERS)})\s*)*"
_LABEL = re.compile(rf"[{_OPEN}]*{_QUALIFIER}(?:{'|'.join(LABELS)})\s*{_QUALIFIER}[{_CLOSE}]*[:=]\s*", re.IGNORECASE)
_TAGGED = re.compile(r"[\s*`]*<(rating|class|answer|score|grade)>(.*)</\1>[\s*`.]*", re.IGNORECASE)
_BOXED = re.compile(r"\\(?:boxed|text|textbf|mathrm)\{([^{}]*)\}")


class Unstated(Exception):
    """The text states no choice, or more than one."""


class Choices:
    """The names that may be chosen, compared without case.

    Args:
        mentions: what naming one of them looks like, with the name in group 1; None: the name as a word of its own.
        indices: of each name, where several mean the same; None: each has its own.
    """

    def __init__(
        self,
        names: Sequence[str],
        mentions: re.Pattern[str] | None = None,
        indices: Sequence[int] | None = None,
    ) -> None:
        numbered = list(zip(range(len(names)) if indices is None else indices, names))
        self._index = {_core(name): i for i, name in numbered}
        self._plain = {plain(name): i for i, name in numbered}
        longest = sorted(self._plain, key=len, reverse=True)  # "very bad" is not also "bad"
        self._mentions = mentions or re.compile("|".join(f"({_edged(name)})" for name in longest))
        self._words = mentions is None

    def bare(self, text: str) -> int | None:
        """Index of the name that stands here with nothing but quotes, emphasis, brackets and a full stop around it.

        "!Good", "Good?" and "~Good~" are none.
        """
        for _ in range(2):
            text = _BOXED.sub(r"\1", text)
        return self._index.get(_core(text))

    def named(self, text: str) -> set[int]:
        """Indices of all names that occur in the text, in whatever sense; -1 for what looks like one and is none."""
        if self._words:
            return {self._plain[match.group(0)] for match in self._mentions.finditer(plain(text))}
        return {self._plain.get(match.group(1), -1) for match in self._mentions.finditer(text)}

    def stated(self, text: str) -> int:
        """Index of the one name that the text states as its choice.

        Raises:
            Unstated: none, or several.
        """
        lines = [line for line in text.splitlines() if line.strip()]
        choices, last, rest = set(), -1, ""
        for i, line in enumerate(lines):
            below_label = i > 0 and _LABEL.fullmatch(lines[i - 1]) is not None
            if not (below_label or _begins(lines, i, _SENTENCE + ":;")):
                continue
            choice, after = (self.bare(line), "") if below_label else self._labelled(line)
            if choice is not None:
                choices.add(choice)
                last, rest = i, after
        alone = {found for line in lines if (found := self.bare(line)) is not None}
        if last < 0 and lines and _begins(lines, len(lines) - 1, _SENTENCE):
            final = self.bare(lines[-1])
            choices, last = ({final}, len(lines) - 1) if final is not None else (choices, last)
        if not choices:
            raise Unstated("no name is stated as the choice")
        if len(choices | alone | self.named("\n".join([rest, *lines[last + 1 :]]))) > 1:
            raise Unstated("several names are")
        return choices.pop()

    def _labelled(self, line: str) -> tuple[int | None, str]:
        """(index, the rest of the line) of ``LABEL: NAME``, ``LABEL: NAME. A sentence`` or ``<LABEL>NAME</LABEL>``."""
        tagged = _TAGGED.fullmatch(line)
        if tagged:
            return self.bare(tagged.group(2)), ""
        label = _LABEL.match(line)
        if not label:
            return None, ""
        value = line[label.end() :]
        stop = re.search(r"[.!](?=\s+\S)|。", value)
        if self.bare(value) is None and stop:
            return self.bare(value[: stop.start()]), value[stop.end() :]
        return self.bare(value), ""


def plain(text: str) -> str:
    """Lower case words of compatible characters, with single spaces and no punctuation."""
    return plain_words(unicodedata.normalize("NFKC", text))


def is_label(text: str) -> bool:
    """Whether a key of an object, or the words before one, announce the choice."""
    return plain(text) in LABELS


def _core(text: str) -> str:
    """The text without what may stand around a name, and with one space for each gap in it."""
    text = re.sub(rf"^[{_OPEN}]+", "", unicodedata.normalize("NFKC", text))
    text = re.sub(rf"[{_CLOSE}]*[.!。]*[{_CLOSE}]*$", "", text)
    return re.sub(r"[\s_-]+", " ", text).casefold().strip()


def _edged(name: str) -> str:
    """A pattern of the name as a word. Scripts without spaces between words, or with endings, have no edge."""
    before = r"(?<!\w)" if _spaced(name[0]) else ""
    after = r"(?!\w)" if _spaced(name[-1]) else ""
    return before + re.escape(name) + after


def _spaced(letter: str) -> bool:
    return letter < "\u1100"


def _begins(lines: Sequence[str], i: int, ends: str) -> bool:
    """Whether a line begins something new: a sentence that is broken over two lines shall not end in a choice."""
    return i == 0 or lines[i - 1].rstrip()[-1] in ends
