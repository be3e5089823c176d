"""Sections of a model card: verdict, results, model, data, quantization and files."""

from __future__ import annotations

from collections.abc import Iterator

from dlrm_pl.artifact.card.facts import CardFacts
from dlrm_pl.artifact.card.markdown import literal, prose, table
from dlrm_pl.artifact.certificate.verdict import share
from dlrm_pl.artifact.files import table_names
from dlrm_pl.artifact.manifest import (
    CERTIFICATE_NAME,
    FILE_NAME,
    REPORT_NAME,
    RESULT_NAME,
    TRIALS_NAME,
    WEIGHTS_NAME,
)
from dlrm_pl.artifact.summary import comparison, drop_line, guards_line, slice_line
from dlrm_pl.columns.description import column_groups
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
from dlrm_pl.documents.fields import make
from dlrm_pl.errors import ArtifactError
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.quantization.recipe import Recipe

_CONTENTS = {
    WEIGHTS_NAME: "weights of all layers except the tables",
    VOCABULARY_NAME: "dictionaries that turn raw values into ids",
    CERTIFICATE_NAME: "what quantization cost, measured and judged",
    RESULT_NAME: "the result of the search, for programs",
    TRIALS_NAME: "the recipes that were tried",
    REPORT_NAME: "all of this on one page, with plots",
    FILE_NAME: "architecture, columns and the SHA-256 of every file",
}


def opening(facts: CardFacts) -> str:
    """Return the title with the verdict below it; the title also names the verdict of a model that was not accepted."""
    certificate = facts.certificate
    drop = prose(_sentence(drop_line(certificate)))
    if certificate.outcome == "accepted":
        title, verdict = "", f"**Accepted.** {drop}"
    else:
        title = f" ({certificate.outcome})"
        words = {
            "not accepted": "This model was not accepted: quantization costs more than the tolerance, or the cost "
            "could not be measured.",
            "undecided": "It is undecided whether this model is within its tolerance: there were too few test rows.",
        }[certificate.outcome]
        verdict = f"> **{words}** Reason: {prose(_sentence(certificate.reason, capital=False))} {drop}"
    model = (
        "A deep learning recommendation model (DLRM) that predicts the probability of a click, quantized to 8-bit "
        "integers for CPUs. It was made by `dlrm_pl`, which saved the measured cost of quantization next to the "
        f"weights, in `{CERTIFICATE_NAME}`."
    )
    return f"# {prose(facts.name)}{title}\n\n{verdict}\n\n{model}"


def results(facts: CardFacts) -> str:
    """Return the results: both models side by side, the interval of the drop, the guards and warnings."""
    certificate = facts.certificate
    if not certificate.rows:
        return f"## Results\n\n{prose(_sentence(drop_line(certificate)))}"
    rows = [[prose(name), *map(prose, cells)] for name, *cells in comparison(facts.manifest, certificate)]
    lines = [prose(_sentence(drop_line(certificate)))]
    if certificate.auroc_drop_interval is not None:
        low, high = (share(certificate, end) for end in certificate.auroc_drop_interval)
        lines.append(
            f"The drop lies between {low} and {high} with {certificate.confidence:.0%} confidence (two-sided)."
        )
    lines.append(prose(_sentence(guards_line(certificate))))
    if text := slice_line(certificate):
        lines.append(prose(_sentence(text)))
    lines += [f"Warning: {prose(_sentence(warning, capital=False))}" for warning in certificate.warnings]
    machine = certificate.machine
    threads = machine.get("threads")
    speed = (
        f"Speed: {machine['processor']}, batches of {certificate.batch_size:,} rows"
        + (f", {threads} threads" if isinstance(threads, int) else "")
        + f", torch {machine['torch']}; measured while the test rows were scored, not by a benchmark."
    )
    lines.append(prose(speed))
    bullets = "\n".join(f"- {line}" for line in lines)
    return (
        f"## Results\n\nBoth models scored the same {certificate.rows:,} test rows, {certificate.positives:,} of "
        "them with a click, which were used neither for training nor for choosing the "
        f"recipe.\n\n{table(('', 'fp32', 'int8', 'difference'), rows)}\n\n{bullets}"
    )


def model(facts: CardFacts) -> str:
    """Return the architecture, columns and tables."""
    architecture = facts.architecture
    interaction = {
        "dot": "dot products of all pairs of vectors",
        "cat": "concatenation of the vectors",
        "dcn": f"a cross network of {architecture.cross_layers} layers of rank {architecture.cross_rank}",
    }[architecture.interaction]
    lines = [
        f"Bottom MLP: {'-'.join(map(str, architecture.bottom_mlp))}, for {architecture.bottom_mlp[0]} numeric columns",
        f"Tables: {architecture.num_tables} with {sum(architecture.table_sizes):,} rows of "
        f"{architecture.embedding_dim} values",
        f"Interaction: {interaction}",
        f"Top MLP: {'-'.join(map(str, architecture.top_mlp))}",
    ]
    text = "## Model\n\n" + "\n".join(f"- {line}" for line in lines)
    if facts.columns is None:
        return f"{text}\n\nThe columns of the rows are not known."
    label, groups = facts.columns.label, column_groups(facts.columns)
    named = [
        f"- {kind}: {', '.join(map(literal, names))}{f' and {more:,} more' if more else ''}: {prose(words)}"
        for kind, names, more, words in groups
    ]
    return f"{text}\n\nColumns of a row (`manifest.json` has all of them):\n\n- label: {literal(label)}\n" + "\n".join(
        named
    )


def data(facts: CardFacts) -> str:
    """Return the fingerprints and row ranges; an artifact contains no rows."""
    certificate = facts.certificate
    stated = [
        ("dataset (its dictionaries and columns)", certificate.dataset_fingerprint),
        ("test rows", certificate.row_checksum),
        ("fp32 model", certificate.model_checksum or certificate.model_fingerprint),
    ]
    lines = [f"- Checksum of the {what}: {literal(value)}" for what, value in stated if value]
    if certificate.other_dataset:
        lines.append(f"- Made with --force from another dataset: {prose(certificate.other_dataset)}")
    rows = [
        (name, part["split"], f"{part['start']:,}", f"{part['stop']:,}", f"{part['stop'] - part['start']:,}")
        for name in ("calibration", "tuning", "certification")
        if (part := certificate.row_ranges.get(name))
    ]
    held = (
        f"`{VOCABULARY_NAME}` holds the category values of the training log, so the model can score raw values."
        if VOCABULARY_NAME in facts.manifest.files
        else "There are no dictionaries of category values, either."
    )
    ranges = table(("used for", "split", "from", "to", "rows"), rows)
    return (
        f"## Data\n\nThe model contains no rows of the data. {held} The rows were used as follows (no two ranges "
        f"overlap):\n\n{ranges}\n\n" + "\n".join(lines)
    ).rstrip()


def quantization(facts: CardFacts) -> str:
    """Return the recipe, and how it was found."""
    certificate, manifest = facts.certificate, facts.manifest
    recipe = make(Recipe, manifest.recipe, f"{FILE_NAME}: recipe", ArtifactError, "Quantize again.")
    trials = f"{certificate.trials} recipe{'s'[: certificate.trials != 1]} tried"
    search = f"Search: strategy {literal(certificate.strategy)}, seed {certificate.seed}, {trials}; it ended because"
    if not certificate.trials:
        search = f"Seed {certificate.seed}; no recipe was searched:"
    ops = sum(certificate.int8_ops.values())
    lines = [
        f"Recipe: {prose(recipe.describe())}",
        f"{search} {prose(certificate.stopped_because)}",
        f"Integer ops of one forward pass: {ops}",
        f"Size: {format_bytes(manifest.fp32_bytes)} of fp32 weights became {format_bytes(manifest.int8_bytes)} "
        f"({manifest.int8_bytes / manifest.fp32_bytes:.1%})",
        f"Certified {prose(certificate.created)}",
    ]
    damaged = [f"{count:,} in {op}" for op, count in manifest.nonfinite_rows.items()]
    if damaged:
        lines.append(f"Rows in which NaN or infinity was replaced by 0: {prose(', '.join(damaged))}")
    return "## Quantization\n\n" + "\n".join(f"- {line}" for line in lines)


def files(facts: CardFacts) -> str:
    """Return the files with their sizes; all table files share a line."""
    rows = [(literal(name), f"{size:,}", contents) for name, size, contents in _files(facts)]
    rows.append(("all", f"{sum(facts.sizes.values()):,}", ""))
    lines = [f"| {name} | {size} | {contents} |" for name, size, contents in rows]
    return "## Files\n\n| file | bytes | content |\n|---|---:|---|\n" + "\n".join(lines)


def _files(facts: CardFacts) -> Iterator[tuple[str, int, str]]:
    tables, patches = table_names(facts.manifest), facts.manifest.patch_names
    left = dict(facts.sizes)
    groups = ((tables, "packed embedding tables"), (patches, "table rows that changed in further training"))
    for names, contents in groups:
        if names:
            size = sum(left.pop(name, 0) for name in dict.fromkeys(names))
            yield f"{names[0]}, ..." if len(names) > 1 else names[0], size, f"{len(names)} files: {contents}"
    for name, size in sorted(left.items(), key=lambda entry: ([*_CONTENTS, entry[0]].index(entry[0]), entry[0])):
        yield name, size, _CONTENTS.get(name, "")


def _sentence(text: str, *, capital: bool = True) -> str:
    text = text.strip().rstrip(".")
    return f"{text[:1].upper() if capital else text[:1]}{text[1:]}."
