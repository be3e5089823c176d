"""Messages about values that are not in the vocabulary: how many there were, and how they were scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrm_pl.data.formats.row_encoder import RowEncoder
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.sources.bad_rows import shown_value

_MOST_NAMES = 8


def unseen_lines(encoder: RowEncoder, unseen: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """Return lines that say how values outside the vocabulary were scored: as unseen, missing, or the first value.

    Args:
        encoder: encoder that assigned the ids.
        unseen: number of values outside the vocabulary in each sparse column.
    """
    vocabulary, lines = encoder.vocabulary, []
    for fallback in ("unseen", "missing", "first"):
        tables = [
            table for table, count in enumerate(unseen) if count and vocabulary.unseen_fallback(table) == fallback
        ]
        if not tables:
            continue
        count = sum(int(unseen[table]) for table in tables)
        names = _listed([vocabulary.sparse[table].name for table in tables])
        if fallback == "first":
            found = _listed([f"{vocabulary.sparse[table].name}={_first_value(encoder, table)}" for table in tables])
            scored = (
                f"as {found}, since the dictionary has no row for unseen values; preprocess with --vocabulary "
                "train_only to get one"
            )
        else:
            scored = "as the row for unseen values" if fallback == "unseen" else "as missing"
        several = "value is" if count == 1 else "values are"
        lines.append(f"{count:,} category {several} not in the vocabulary ({names}), scored {scored}")
    return lines


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _first_value(encoder: RowEncoder, table: int) -> str:
    values = encoder.vocabulary.values[table]
    assert values is not None
    if isinstance(values, Strings):
        return shown_value(values.data[values.offsets[0] : values.offsets[1]].tobytes())
    value = int(values[0])
    return f"{value:08x}" if encoder.vocabulary.sparse[table].kind == "hex" else str(value)
