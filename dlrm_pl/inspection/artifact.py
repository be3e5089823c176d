"""Describe an artifact."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.inspection.description import Description, Line
from dlrm_pl.inspection.lines import architecture_lines, how_to_check_the_rest, lines_of_columns


def describe_artifact(path: Path, full: bool) -> Description:
    """Describe an artifact."""
    import torch

    from dlrm_pl.artifact.certificate.matching import read_matching_certificate
    from dlrm_pl.artifact.columns import stated_columns
    from dlrm_pl.artifact.digests import warn_of_other_digests
    from dlrm_pl.artifact.files import check_files, large_files, places_of
    from dlrm_pl.artifact.manifest import Manifest
    from dlrm_pl.artifact.store import load_model
    from dlrm_pl.artifact.summary import comparison, drop_line, guards_line, slice_line, verdict_line
    from dlrm_pl.artifact.writing.result_file import check_result
    from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME
    from dlrm_pl.model.checkpoints.table_lines import table_data, table_lines
    from dlrm_pl.model.checkpoints.table_statistics import describe_rows, sampled_rows

    manifest = Manifest.read(path)
    places = places_of(path, manifest)
    left = {} if full else large_files(places)
    check_files(places, manifest, left)
    checked = f"all files {f'below {min(left.values()):,} bytes ' if left else ''}by their checksums"
    checked += ", and that the certificate agrees with itself and with them"
    certificate = read_matching_certificate(path, manifest)
    check_result(path, certificate)
    widths = (22, 16, 16, 12)
    metrics = [
        "".join(
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [("", "fp32", "int8", "difference"), *comparison(manifest, certificate)]
    ]
    ops: dict[tuple[str, str], list[int]] = {}
    for op, values in manifest.ops.items():
        part, _, number = op.partition(".")
        layer, _, linear = number.partition(".")  # For a cross layer: V or W.
        named = f"{part} {linear}".rstrip()
        ops.setdefault((named, values["dtype"]), []).extend([int(layer)] if layer else [])
    model = load_model(places, manifest)
    if not left:
        warn_of_other_digests(path, manifest, model.architecture)
    columns = stated_columns(manifest.columns, model.architecture, str(path))
    tables, architecture = model.tables, model.architecture.to_dict()
    sizes = architecture["table_sizes"]
    samples = [sampled_rows(rows) for rows in sizes]
    longest = max(map(len, samples))
    # One lookup takes equally many rows of every table: shorter samples are padded with row 0.
    indices = torch.stack([torch.nn.functional.pad(rows, (0, longest - len(rows))) for rows in samples])
    found = tables(indices, None)
    statistics = [describe_rows(found[: len(rows), index]) for index, rows in enumerate(samples)]
    kinds = [
        (dtype, table.numel() * table.element_size()) for dtype, table in zip(tables.dtypes, tables.all(), strict=True)
    ]
    damaged = [f"{count:,} in {op}" for op, count in manifest.nonfinite_rows.items()]
    machine = manifest.machine
    lines: list[Line] = [
        ("verdict", f"{verdict_line(certificate)}; {certificate.created}"),
        ("made from", f"model {manifest.model_fingerprint}, dataset {manifest.dataset_fingerprint or 'unknown'}"),
        *([("by force", certificate.other_dataset)] if certificate.other_dataset else []),
        *([("damaged", f"rows whose NaN or infinity became 0: {', '.join(damaged)}")] if damaged else []),
        ("certified on", f"{machine['processor']}, torch {machine['torch']}"),
        *lines_of_columns(columns),
        *([("raw values", "by the dictionaries in the artifact")] if VOCABULARY_NAME in manifest.files else []),
        *architecture_lines(architecture),
        *((dtype, f"{part} {_numbers(numbers)}".rstrip()) for (part, dtype), numbers in ops.items()),
        *table_lines(architecture, kinds, statistics, columns),
        *metrics,
        drop_line(certificate),
        guards_line(certificate),
        *filter(None, [slice_line(certificate)]),
        ("reason", certificate.reason),
        *(("warning", warning) for warning in certificate.warnings),
        ("checked", f"{checked}{how_to_check_the_rest(full or not left)}"),
        ("not checked", "the metrics: `verify` scores the model again, with --ckpt_path the fp32 model as well"),
    ]
    data = {
        "accepted": certificate.accepted,
        "outcome": certificate.outcome,
        "columns": columns and columns.statement(),
        "architecture": architecture,
        "ops": {op: values["dtype"] for op, values in manifest.ops.items()},
        "tables": table_data(architecture, kinds, statistics),
        "manifest": manifest,
        "certificate": certificate,
    }
    return Description("artifact", path, data, tuple(lines), checked)


def _numbers(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
