"""A dataset folder as a page: the report of `preprocess`, with figures and a sample of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrm_pl.columns.description import describe_dense, describe_sparse
from dlrm_pl.data.preprocessing.statistics.report import uncounted_words
from dlrm_pl.data.survey.labels import LabelRate
from dlrm_pl.data.survey.skew import TOP
from dlrm_pl.data.survey.survey import Survey, survey
from dlrm_pl.documents.fields import printable
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Term, Terms
from dlrm_pl.plots.dataset_figures import (
    MOST_NAMED,
    label_rate_figure,
    missing_figure,
    skew_figure,
    table_sizes_figure,
)
from dlrm_pl.plots.parts import Drawn, Portrait, Section

_EXPLAINED = {
    "rows": "Impressions: one row for each time that something was shown. For a day, the rows that were kept when "
    "rows without a click were dropped (subsample_rate).",
    "click rate": "Clicks divided by rows. A day that differs greatly from the others often has labels that belong to "
    "other rows, or is incomplete.",
    "table rows": "Number of rows in a column's embedding table: one for each id.",
    "fp32 bytes": "Bytes of the table in 32-bit floats with 16 values per row; proportional to the dimension.",
    "ids in the sample": "Number of ids of the column in the sampled rows. Missing values have an id too; in lists, "
    "each element counts.",
    "different ids": "Number of different ids among them. The table may have many more, which are rare.",
    "the most frequent": "Share of the ids in the sample that are the column's most frequent id.",
    "mean length": "Mean number of elements of the column's lists in the sampled rows.",
    "empty lists": "Share of the sampled rows whose list has no element.",
    "missing": "Share of all rows read in which the log has no value for the column.",
    "share of rows": "Share of the rows that have this value; rows without a value count as rows. For a categorical "
    "column, the rows, or the elements of lists, are those that its dictionary was made from.",
    "rows read": "Rows of the logs that were read, before any were dropped.",
    "rejected": "Rows that could not be read, by kind of error; they are in rejected.tsv.",
    "unseen values": "Values that are not in the dictionaries; they share an id.",
    "cut lists": "Lists that were longer than their column allows, and were truncated.",
    "fingerprint": "Checksum of the dictionaries. Where it is equal, the same ids stand for the same values: each "
    "model and artifact belongs to one fingerprint.",
    "best possible AUROC": "AUROC of the true click probabilities, which are known only for synthetic data; no model "
    "can be expected to exceed it.",
}
_CAPTION_OF_SKEW = (
    "The strongest colour is the most frequent id; fainter colours are the 10, 100 and 1,000 most frequent."
)
_OF_A_ROW = 16


def dataset_portrait(path: Path) -> Portrait:
    """Describe a dataset folder in sections.

    Raises:
        DLRMError: see ``survey``.
    """
    found, terms = survey(path), Terms(_EXPLAINED)
    sections = [*_labels(found, terms), *_tables(found, terms), _skew(found, terms), _missing(found, terms)]
    sections += [*_values(found, terms), _facts(found, terms), _columns(found)]
    clicks = f"{'' if found.is_exact else 'about '}{found.rate:.3%} clicks"
    columns = found.columns
    lead = (
        f"{found.rows:,} rows with {clicks}; {_many(columns.num_dense, 'numeric column')} and "
        f"{_many(columns.num_sparse, 'categorical column')}"
    )
    if found.table_sizes is not None:
        lead += f", whose tables have {sum(found.table_sizes):,} rows"
    warnings = [printable(str(warning)) for warning in found.report.get("warnings", ())]
    return Portrait(f"Dataset {path.absolute().name}", f"{lead}.", sections, warnings, terms)


def _labels(found: Survey, terms: Terms) -> Iterator[Section]:
    by_day = found.rates != found.splits
    counted = (
        "All rows were counted."
        if all(rate.sampled is None for rate in found.rates)
        else ("Bars show a sample of rows, whiskers their 95 % intervals.")
    )
    what = "each day" if by_day else "each split"
    figure = Drawn(label_rate_figure(found.rates), f"Click rate of {what}. {counted}")
    tables = [_rates(found.splits, "split", terms, found.best_possible_auroc)]
    folded = {"Days": _rates(found.rates, "day", terms, {})} if by_day else {}
    yield Section("Click rate", figures=[figure], tables=tables, folded=folded)


def _rates(rates: Sequence[LabelRate], what: str, terms: Terms, best: object) -> Table:
    ceilings = dict(best) if isinstance(best, dict) else {}
    sampled = any(rate.sampled for rate in rates)
    columns: list[str | Term] = [what, terms["rows"], terms["click rate"]]
    columns += ["rows examined"] if sampled else []
    columns += [terms["best possible AUROC"]] if ceilings else []
    rows = []
    for rate in rates:
        row = [rate.name, f"{rate.rows:,}", f"{rate.rate:.4%}"]
        row += [f"{rate.sampled or rate.rows:,}"] if sampled else []
        row += [f"{ceilings[rate.name]:.6f}" if rate.name in ceilings else ""] if ceilings else []
        rows.append(row)
    return Table("", columns, rows)


def _tables(found: Survey, terms: Terms) -> Iterator[Section]:
    if found.table_sizes is None:
        words = (
            "The dataset does not state how many rows the tables have; data.table_sizes does, when a model is trained."
        )
        yield Section("Table sizes", words=[[words]])
        return
    names, sizes = [column.name for column in found.columns.sparse], found.table_sizes
    total = sum(sizes)
    caption = f"Rows of each table, from zero; {total:,} in all."
    if len(sizes) > MOST_NAMED:
        caption += f" The {MOST_NAMED} largest are named."
    headings: list[str | Term] = ["table", terms["table rows"], "share of all", terms["fp32 bytes"]]
    rows = [
        (name, f"{size:,}", f"{size / total:.2%}", format_bytes(4 * _OF_A_ROW * size))
        for name, size in zip(names, sizes, strict=True)
    ]
    figure = Drawn(table_sizes_figure(names, sizes), caption)
    yield Section("Table sizes", figures=[figure], folded={"Rows of all tables": Table("", headings, rows)})


def _skew(found: Survey, terms: Terms) -> Section:
    whole = found.sampled == next(split.rows for split in found.splits if split.name == found.sampled_split)
    split = found.sampled_split
    sample = f"a sample of {found.sampled:,} rows from throughout {split} (the same each time)"
    if whole:
        sample = f"all rows of {split}"
    words: list[str | Term] = [f"From {sample}: the share of a column's ids that are "]
    words += [terms["the most frequent"], ", and that are among the 10, 100 and 1,000 most frequent. "]
    words += ["Where this is high, training and serving look up a few rows over and over. "]
    words += ["A missing value is stored as an id too, and counted like any other; an empty list has no id."]
    if len(found.skew) > MOST_NAMED:
        words += [f" The {MOST_NAMED} columns with the most frequent ids are shown."]
    lists = any(skew.mean_length is not None for skew in found.skew)
    headings: list[str | Term] = ["column", terms["ids in the sample"], terms["different ids"]]
    headings += [terms["the most frequent"], *(f"{top:,} most frequent" for top in TOP[1:])]
    headings += [terms["mean length"], terms["empty lists"]] if lists else []
    rows = []
    for skew in found.skew:
        row = [skew.name, f"{skew.ids:,}", f"{skew.distinct:,}", *(f"{share:.2%}" for share in skew.shares)]
        row += ["" if skew.mean_length is None else f"{skew.mean_length:.2f}"] if lists else []
        row += ["" if skew.empty is None else f"{skew.empty:.2%}"] if lists else []
        rows.append(row)
    figure = Drawn(skew_figure(found), _CAPTION_OF_SKEW)
    return Section("Id skew", words=[words], figures=[figure], folded={"All columns": Table("", headings, rows)})


def _missing(found: Survey, terms: Terms) -> Section:
    if found.missing is None:
        return Section("Missing values", words=[[f"Unknown: {found.why_not_missing}."]])
    missing = list(found.missing.items())
    drawing = missing_figure(missing)
    if drawing is None:
        return Section("Missing values", words=[[f"No value is missing in any of the {len(missing)} columns."]])
    some = sum(1 for _, rate in missing if rate)
    caption = f"{some} of {len(missing)} columns have missing values; all rows were counted when the logs were read."
    if some > MOST_NAMED:
        caption += f" The {MOST_NAMED} columns with the most are shown."
    rows = [(name, f"{rate:.4%}") for name, rate in missing]
    table = Table("", ("column", terms["missing"]), rows)
    return Section("Missing values", figures=[Drawn(drawing, caption)], folded={"Missing values of all columns": table})


def _values(found: Survey, terms: Terms) -> Iterator[Section]:
    shares = found.report.get("largest_shares") or ()
    uncounted = uncounted_words(found.report)
    if shares or uncounted:
        headings: list[str | Term] = ["column", "value", terms["share of rows"]]
        rows = [(entry["column"], printable(entry["value"]), f"{entry['share']:.2%}") for entry in shares]
        words = "The columns in which a single value is most frequent, with that value."
        if uncounted:
            words += f" Values were {uncounted}."
        yield Section("Most frequent values", words=[[words]], tables=[Table("", headings, rows)] if rows else [])


def _facts(found: Survey, terms: Terms) -> Section:
    report = found.report
    facts: list[tuple[str | Term, str]] = [("folder", str(found.path)), (terms["fingerprint"], found.fingerprint)]
    if report:
        facts.append((terms["rows read"], f"{report['rows']:,}"))
        rejected = ", ".join(f"{count:,} {kind}" for kind, count in report["rejected"].items())
        facts.append((terms["rejected"], printable(rejected) or "none"))
        facts.append((terms["unseen values"], f"{report['unknown_values']:,}"))
        if report.get("cut_lists"):
            facts.append((terms["cut lists"], f"{report['cut_lists']:,}"))
    facts.append(("bytes of a row", f"{found.columns.record_bytes:,}"))
    return Section("Facts", tables=[Table("", ("", ""), facts)])


def _columns(found: Survey) -> Section:
    rows = [(found.columns.label, "label", "1 for a click")]
    rows += [(column.name, "dense", describe_dense(column)) for column in found.columns.dense]
    rows += [(column.name, "sparse", describe_sparse(column)) for column in found.columns.sparse]
    return Section("Columns", folded={f"All {len(rows):,} columns": Table("", ("name", "kind", "what it is"), rows)})


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s'[: count != 1]}"
