"""Questions out of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250): the JSON of version 1.1, from a file or a URL."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from promptmill.crafts.bake.questions import SPLITS, Question, joined, questions_of
from promptmill.errors import InputError
from promptmill.store.files import write_text

SECONDS = 60.0  # without a byte from the server
SHAPE = "SQuAD's JSON is {data: [{paragraphs: [{qas: [{question: …}]}]}]}"


def squad_questions(sources: Sequence[str], validation: float = 0.1) -> list[Question]:
    """The questions of one file or URL, split by a hash of their texts; or of two, the second one for validation.

    Each once, case and white space aside; a question of both sources is for validation. InputError naming the source.
    """
    texts = [list(_questions(_document(source), source)) for source in sources]
    for source, found in zip(sources, texts, strict=True):
        if not found:
            raise InputError(f"{source}: there are no questions in it")
    if len(sources) == 1:
        return questions_of(texts[0], validation)
    train, held = texts
    return joined(questions_of(train, 0, "train"), questions_of(held, 0, "validation"))


def write_questions(questions: Sequence[Question], folder: Path) -> dict[str, tuple[Path, int]]:
    """train.jsonl and validation.jsonl, a line `{"question": …}` for each; where they are and how many lines they have.
    A split without questions has no file."""
    written: dict[str, tuple[Path, int]] = {}
    for split in SPLITS:
        lines = [json.dumps({"question": one.text}, ensure_ascii=False) for one in questions if one.split == split]
        if lines:
            path = folder / f"{split}.jsonl"
            write_text(path, "\n".join(lines) + "\n")
            written[split] = path, len(lines)
    return written


def _document(source: str) -> Any:
    try:
        return json.loads(_content(source))
    except ValueError as error:  # UnicodeDecodeError is one
        raise InputError(f"{source}: not JSON ({' '.join(str(error).split())[:120]})") from None


def _content(source: str) -> bytes:
    if not source.lower().startswith(("http://", "https://")):
        try:
            return Path(source).expanduser().read_bytes()
        except OSError as error:
            raise InputError(f"{source}: cannot be read ({error.strerror})") from None
    try:
        with urllib.request.urlopen(source, timeout=SECONDS) as answer:
            data: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise InputError(f"{source}: the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise InputError(
            f"{source}: cannot be fetched ({' '.join(str(why).split()) or type(error).__name__}); "
            "fetch it in another way and give the file"
        ) from None
    return data


def _questions(document: Any, source: str) -> Iterator[str]:
    """InputError, naming the place, where it has another shape."""
    for where, entry in _each(document, "data", source):
        for inner, paragraph in _each(entry, "paragraphs", where):
            for place, asked in _each(paragraph, "qas", inner):
                text = asked.get("question") if isinstance(asked, dict) else None
                if not isinstance(text, str):
                    raise InputError(f"{place}: has no question; {SHAPE}")
                if text.strip():
                    yield text.strip()


def _each(parent: Any, key: str, where: str) -> Iterator[tuple[str, Any]]:
    rows = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{where}: has no list {key!r}; {SHAPE}")
    for place, row in enumerate(rows):
        yield f"{where}, {key}[{place}]", row
