"""Verify an artifact."""

from __future__ import annotations

from pathlib import Path

from dlrm_pl.cli.commands.progress import rows_bar
from dlrm_pl.cli.output import Report


def verify(
    artifact: str,
    data: str,
    ckpt_path: str | None = None,
    batch_size: int | None = None,
    tolerance: float = 1e-4,
    force: bool = False,
) -> Report:
    """Check a certificate again, on this machine.

    All files of the artifact, the certification rows and the dictionaries are compared with their checksums; the int8
    model scores the certification rows, and each metric is compared with the certificate. On another machine, the
    report states how the machine differs and how far each metric drifts. The exit status is 2 if something differs by
    more than the tolerance.

    Args:
        artifact: the artifact folder.
        data: the dataset folder.
        ckpt_path: the float checkpoint that the artifact was made from; if given, its metrics, the AUROC drop and the
            guards are measured again.
        batch_size: rows per batch; by default as certified.
        tolerance: allowed difference of each metric, for processors that round differently.
        force: accept a dataset other than the one that the artifact was made for, if none of its tables is larger.
    """
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.artifact.summary import drop_line, guards_line, slice_line, verdict_line
    from dlrm_pl.artifact.verification.verify import verify_artifact
    from dlrm_pl.artifact.writing.result_file import check_result

    loaded = load_artifact(artifact, checksums="always")
    check_result(loaded.path, loaded.certificate)
    with rows_bar("verify", loaded.certificate.rows) as advance:
        result = verify_artifact(
            loaded,
            Path(data),
            ckpt_path=None if ckpt_path is None else Path(ckpt_path),
            batch_size=batch_size,
            tolerance=tolerance,
            force=force,
            progress=advance,
        )
    certificate = result.certificate
    source = "re-measured: " if result.measured_drop else "certified: "
    lines = [
        f"{artifact}: checksums, {result.rows:,} rows and {sum(result.int8_ops.values())} int8 ops as certified.",
        f"{data}: checked {result.checked}",
        f"int8 AUROC {result.int8.auroc:.6f}, certified {loaded.certificate.int8['auroc']:.6f}",
        *(
            source + line
            for line in (drop_line(certificate), guards_line(certificate), slice_line(certificate))
            if line
        ),
        *(f"warning: {warning}" for warning in certificate.warnings),
    ]
    if not result.measured_drop:
        lines.append(
            "not measured again: the fp32 model, the drop and the guards. Their values are those of the certificate, "
            "whose numbers are consistent with each other; give --ckpt_path to measure them"
        )
    lines.append(f"certified as {verdict_line(loaded.certificate)}")
    if not loaded.certificate.accepted:
        lines.append(f"reason: {loaded.certificate.reason}")
    lines.append(f"{result.drift.describe()}.")
    report = {
        "artifact": artifact,
        "data": data,
        "checked": result.checked,
        "rows": result.rows,
        "int8": result.int8,
        "int8_ops": result.int8_ops,
        "measured_drop": result.measured_drop,
        "drift": result.drift,
        "outcome": loaded.certificate.outcome,
        "certificate": certificate,
    }
    return Report(report, "\n".join(lines))
