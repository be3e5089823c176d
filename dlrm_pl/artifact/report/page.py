"""``report.html``: one file that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from dlrm_pl.artifact.report import figures
from dlrm_pl.artifact.report.report_data import Contents
from dlrm_pl.artifact.report.style import STYLE
from dlrm_pl.artifact.summary import comparison, drop_line, guards_line, slice_line
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.quantization.judging.certified_slice import CertifiedSlice
from dlrm_pl.quantization.judging.guards import describe_change
from dlrm_pl.quantization.judging.slices import SCORE_NAMES

Cell = str | int | float | bool | None

_PASSED = {True: "yes", False: "NO", None: "undecided"}


def render(contents: Contents) -> str:
    """The whole page."""
    certificate, manifest = contents.certificate, contents.manifest
    word = certificate.outcome
    percent = manifest.int8_bytes / manifest.fp32_bytes
    sections = [
        f'<header><h1>Quantized DLRM: <span class="{"good" if certificate.accepted else "bad"}">{word}</span></h1>',
        f"<p>{escape(_sentence(certificate.reason))}</p>",
        f"<p>{escape(_sentence(drop_line(certificate)))} The model takes {percent:.1%} of the fp32 model's bytes.</p>",
        _other_dataset(contents),
        *(f'<p class="bad">Warning: {escape(warning)}</p>' for warning in certificate.warnings),
        "</header><main>",
        _section("Certificate", _certificate(contents)),
        _section("Drop by op and table", _sensitivities(contents)),
        _section("What the trials trade", _pareto(contents)),
        _section("Click probabilities", _probabilities(contents)),
        _section("Rows read", _rows(contents)),
        _section("Bytes and memory", _bytes(contents)),
        _section("Trials", _trials(contents)),
        _section("Settings", _settings(contents)),
        _section("Where this comes from", _origin(contents)),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # The page is what it holds, also when a name in it is hostile.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">'
        f"<title>Quantized DLRM: {word}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _certificate(contents: Contents) -> Iterator[str]:
    certificate = contents.certificate
    yield _table(
        "fp32 beside int8, on the certification rows",
        ("", "fp32", "int8", "difference"),
        comparison(contents.manifest, certificate),
    )
    yield _table(
        "Guards: what AUROC does not see",
        ("", "change", "standard error", "tolerance", "passed"),
        [
            (
                guard.title,
                describe_change(guard.change, 4),
                "unknown" if guard.standard_error is None else f"{guard.standard_error:.4%}",
                "off" if guard.tolerance is None else f"{guard.tolerance:.2%}",
                _PASSED[guard.passed],
            )
            for guard in certificate.guards
        ]
        + _slice_row(certificate.worst_slice),
    )
    if line := slice_line(certificate):
        yield f"<p>{escape(_sentence(line))}</p>"
    yield (
        f"<p>{escape(_sentence(guards_line(certificate)))}</p>"
        if not all(guard.passed for guard in certificate.guards)
        else ""
    )
    yield _table(
        "Rows, of which none serves twice",
        ("", "split", "from", "to", "rows"),
        [
            (name, rows["split"], f"{rows['start']:,}", f"{rows['stop']:,}", f"{rows['stop'] - rows['start']:,}")
            for name, rows in certificate.row_ranges.items()
        ],
    )


def _slice_row(stated: CertifiedSlice | None) -> list[tuple[str, str, str, str, str]]:
    """The worst slice as a guard beside the others; an AUROC drop is a fall of it."""
    if stated is None:
        return []
    worst, score = stated.worst, stated.guard.score
    change = "" if worst is None else f"{-worst.drop if score == 'auroc' else worst.drop:+.4%}"
    return [
        (
            f"{SCORE_NAMES[score]} of the worst slice of {stated.column}",
            change,
            "" if worst is None else f"{worst.standard_error:.4%}",
            f"{stated.guard.tolerance:.2%}",
            _PASSED[stated.passed],
        )
    ]


def _sensitivities(contents: Contents) -> Iterator[str]:
    found = contents.sensitivities
    yield f"<p>{escape(_sentence(found.source))}</p>"
    drawn = figures.sensitivities(contents)
    if drawn is None:
        return
    yield _figure(
        drawn,
        "Bars to the right cost; whiskers are 95 % intervals where they are known. Other dtypes: see the numbers.",
    )
    yield _details(
        "The numbers",
        _table(
            "",
            ("op", "dtype", "drop", "standard error"),
            [
                (
                    drop.op,
                    drop.dtype,
                    f"{drop.drop:+.7f}",
                    "" if drop.standard_error is None else f"{drop.standard_error:.7f}",
                )
                for drop in found.drops
            ],
        ),
    )


def _pareto(contents: Contents) -> Iterator[str]:
    drawn = figures.pareto(contents)
    if drawn is not None:
        yield _figure(drawn, "Each trial by drop, size and speed; hollow is what another beats in all three.")
    front = [trial for trial in contents.trials if trial.number in contents.pareto]
    yield _table(
        "Trials that no other beats in drop, bytes and speed at once",
        ("trial", "drop", "MiB", "samples/s", "", "recipe"),
        [
            (
                trial.number,
                f"{trial.drop:+.6f}",
                f"{trial.model_bytes / 2**20:,.2f}",
                f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "unknown",
                "accepted" if trial.accepted else "rejected",
                trial.recipe.describe(),
            )
            for trial in sorted(front, key=lambda trial: (trial.model_bytes, trial.number))
        ],
    )


def _probabilities(contents: Contents) -> Iterator[str]:
    if contents.histograms is None:
        yield "<p>Unknown, since the certification rows could not be scored.</p>"
        return
    for drawn, words in (
        (figures.histogram(contents), "How probabilities are spread on the certification rows."),
        (
            figures.reliability(contents),
            "Predicted and observed click rates, in groups of about as many rows each, with 95 % intervals.",
        ),
    ):
        if drawn is not None:
            yield _figure(drawn, words)
    groups = zip(*(found.groups() for found in contents.histograms), strict=False)
    yield _details(
        "The numbers",
        _table(
            "",
            ("fp32 predicted", "fp32 observed", "rows", "int8 predicted", "int8 observed", "rows"),
            [
                (
                    *(f"{value:.4%}" for value in one[:2]),
                    f"{one[2]:,}",
                    *(f"{v:.4%}" for v in other[:2]),
                    f"{other[2]:,}",
                )
                for one, other in groups
            ],
        ),
    )


def _rows(contents: Contents) -> Iterator[str]:
    drawn = figures.rows_read(contents)
    if drawn is None:
        yield "<p>How many rows a trial read is unknown: its score reads them itself.</p>"
        return
    median, available = figures.median_rows(contents), contents.tuning_rows
    yield (
        f"<p>The median trial read {median:,} of {available:,} tuning rows ({median / max(available, 1):.1%}); it "
        "stops when the bounds of its drop are on one side of the tolerance.</p>"
    )
    yield _figure(drawn, "Rows that each trial read before it was decided.")


def _bytes(contents: Contents) -> Iterator[str]:
    manifest = contents.manifest
    tables = contents.table_bytes
    tables_before = sum(table[2] for table in tables)
    yield _table(
        "",
        ("", "fp32", "artifact", "share"),
        [
            _shares("all tables", tables_before, manifest.table_bytes),
            _shares("MLPs", manifest.fp32_bytes - tables_before, max(manifest.int8_bytes - manifest.table_bytes, 0)),
            _shares("model", manifest.fp32_bytes, manifest.int8_bytes),
        ],
    )
    yield (
        f"<p>Peak memory of the process that made it: {format_bytes(contents.peak_memory_bytes)}, with the pages of "
        "files that it mapped.</p>"
    )
    yield _figure(figures.table_bytes(contents), "Bytes of each table, on a scale of powers of ten.")
    yield _details(
        "The numbers",
        _table(
            "",
            ("table", "rows", "dtype", "fp32 bytes", "bytes", "share"),
            [
                (index, f"{rows:,}", dtype, f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else "")
                for index, (rows, dtype, before, after) in enumerate(tables)
            ],
        ),
    )


def _shares(name: str, before: int, after: int) -> tuple[Cell, ...]:
    return name, f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else ""


def _trials(contents: Contents) -> Iterator[str]:
    rows = [
        (
            trial.number,
            "accepted" if trial.accepted else "failed" if trial.verdict is None else "rejected",
            "" if trial.verdict is None else f"{trial.drop:+.6f}",
            f"{trial.rows:,}" if trial.rows else "",
            f"{trial.model_bytes / 2**20:,.2f}" if trial.model_bytes else "",
            f"{trial.samples_per_s:,.0f}" if trial.samples_per_s else "",
            trial.recipe.describe(),
            trial.reason,
        )
        for trial in contents.trials
    ]
    chosen = contents.best
    yield (
        f"<p>{len(rows)} {'trial' if len(rows) == 1 else 'trials'}; trial {chosen} was chosen. The search stopped "
        f"because {escape(contents.certificate.stopped_because)}.</p>"
    )
    columns = ("trial", "", "drop", "rows", "MiB", "samples/s", "recipe", "why")
    yield _details("All trials", _table("", columns, rows), shown=len(rows) <= 5)


def _settings(contents: Contents) -> Iterator[str]:
    yield _table("Of the search", ("", ""), list(_flat(contents.settings)))
    ops = {name: op["dtype"] for name, op in contents.manifest.ops.items()}
    recipe = {name: value for name, value in contents.manifest.recipe.items() if isinstance(value, str)}
    yield _details("The recipe that was chosen, op by op", _table("", ("op", "dtype"), [*recipe.items(), *ops.items()]))


def _origin(contents: Contents) -> Iterator[str]:
    certificate = contents.certificate
    facts: list[tuple[Cell, ...]] = [
        ("made", certificate.created),
        ("dataset", certificate.dataset_fingerprint),
        ("float model", certificate.model_fingerprint),
        ("calibration rows", f"{contents.calibration_rows:,}"),
        ("batch size", f"{certificate.batch_size:,}"),
        ("integer ops in one forward pass", _words(certificate.int8_ops)),
        ("kernels", _words(certificate.kernels)),
        *((name.replace("_", " "), _words(value)) for name, value in certificate.machine.items()),
    ]
    yield _table("", ("", ""), facts)


def _other_dataset(contents: Contents) -> str:
    other = contents.certificate.other_dataset
    return f'<p class="bad">{escape(_sentence(other))}</p>' if other else ""


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[Cell, ...]]:
    """Nested settings as dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _words(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return "not set" if value is None else str(value)


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _section(title: str, parts: Iterable[str]) -> str:
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(part for part in parts if part) + "</section>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _details(summary: str, body: str, *, shown: bool = False) -> str:
    return f"<details{' open' if shown else ''}><summary>{escape(summary)}</summary>{body}</details>"


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table that scrolls sideways by itself where the screen is narrow; the first column names its row."""
    first = rows[0] if rows else ("",) * len(columns)
    head = "".join(
        f'<th scope="col"{_class(value) if index else ""}>{escape(column)}</th>'
        for index, (column, value) in enumerate(zip(columns, first, strict=True))
    )
    lines = [
        f'<tr><th scope="row">{escape(_cell(row[0]))}</th>'
        + "".join(f"<td{_class(value)}>{escape(_cell(value))}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    ]
    facts = ' class="facts"' if len(columns) == 2 else ""
    # A region that scrolls has to be reached by the keyboard, and so has to have a name.
    name = escape(caption or ", ".join(column for column in columns if column) or "facts", quote=True)
    return (
        (f'<p class="caption">{escape(caption)}</p>' if caption else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{name}"><table{facts}>'
        + (f"<thead><tr>{head}</tr></thead>" if any(columns) else "")
        + f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class(value: Cell) -> str:
    """Numbers stand to the right; long words may break."""
    text = _cell(value)
    if len(text) > 30:
        return ' class="words"'
    return ' class="number"' if text[:1].isdigit() or text[:1] in "+-" else ""


def _cell(value: Cell) -> str:
    return "" if value is None else str(value)
