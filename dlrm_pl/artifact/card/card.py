"""Write a model card, and recognize a card that nobody has edited."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from dlrm_pl.artifact.card import sections, usage
from dlrm_pl.artifact.card.facts import CardFacts
from dlrm_pl.artifact.card.front_matter import front_matter
from dlrm_pl.documents.json_text import read_text
from dlrm_pl.errors import ArtifactError, OutputError
from dlrm_pl.files.destinations import resolved

CARD_NAME = "README.md"
"""Name of a model card, in an artifact folder and on the Hugging Face Hub."""
MAX_BYTES = 1 << 20
"""Largest size of a model card."""
_MARK = re.compile(r"\n<!-- Written by `dlrm-pl card`; sha256 of the lines above: ([0-9a-f]{64}) -->\n\Z")


def render_card(facts: CardFacts) -> str:
    """Return the model card of an artifact; the same facts give the same text.

    The last line, which the Hub does not show, has a checksum of the others, so that an edited card is not taken for
    one that was rendered here.

    Raises:
        ConfigurationError: the licence is not a valid identifier.
    """
    parts = [
        sections.opening(facts),
        usage.use(facts),
        sections.results(facts),
        sections.model(facts),
        sections.data(facts),
        sections.quantization(facts),
        sections.files(facts),
        usage.purpose(facts),
        usage.verify(facts),
    ]
    text = front_matter(facts) + "\n" + "\n\n".join(parts) + "\n"
    return f"{text}\n<!-- Written by `dlrm-pl card`; sha256 of the lines above: {_digest(text)} -->\n"


def is_unedited(text: str) -> bool:
    """Return whether a text is a model card exactly as ``render_card`` returned it."""
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def has_unedited_card(folder: Path) -> bool:
    """Return whether an artifact folder has a model card that nobody has edited."""
    try:
        return is_unedited(read_text(folder / CARD_NAME, ArtifactError, "", max_bytes=MAX_BYTES))
    except ArtifactError:  # There is no card, or it cannot be read.
        return False


def check_place(path: Path, folder: Path) -> None:
    """Check that a model card may be written to a path: in an artifact folder, it must be named ``README.md``.

    Raises:
        OutputError: the path is another file in such a folder, which is or might become one of the artifact's own.
    """
    place = resolved(path)
    if place.parent == resolved(folder) and place.name != CARD_NAME:
        raise OutputError(
            f"{path}: a card in an artifact folder has to be named {CARD_NAME}. Choose that name or another folder."
        )
