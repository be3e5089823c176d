"""Export an artifact to the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dlrm_pl.cli.commands.progress import rows_bar
from dlrm_pl.cli.output import Report


def export(
    artifact: str,
    to: Literal["onnx", "pt2", "openvino"],
    output: str,
    data: str,
    rows: int | None = None,
    tolerance: float = 1e-6,
    force: bool = False,
    allow_not_accepted: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write an artifact's model as ONNX, as a torch.export program, or for OpenVINO.

    The exported model computes with the artifact's integers; nothing is quantized again. It is loaded in the program
    for its format, and its logits on the certification rows are compared with the artifact's. The result and the
    certificate become part of the file, and are repeated in `export.json`. If a logit differs by more than the
    tolerance, or the AUROC in the first six digits, the exit status is 2 and nothing is written.

    Args:
        artifact: the artifact folder.
        to: `onnx` (opset 21: Gather, MatMulInteger and other standard ops), `pt2` (torch.export; loads without this
            package), or `openvino` (IR, from the same graph as `onnx`).
        output: folder to write.
        data: the dataset folder, for the certification rows.
        rows: score only this many of these rows; null: all.
        tolerance: allowed difference of a logit; if it is above the default, the AUROC is reported but not compared.
        force: accept a dataset other than the one that the artifact was made for, if none of its tables is larger.
        allow_not_accepted: export an artifact that was not accepted.
        overwrite: replace another export in the folder ``output``.
    """
    from dlrm_pl.artifact.store import load_artifact
    from dlrm_pl.export.export import export_artifact

    loaded = load_artifact(artifact)
    with rows_bar("export", rows or loaded.certificate.rows or None) as advance:
        exported = export_artifact(
            loaded,
            to,
            Path(output),
            Path(data),
            rows=rows,
            tolerance=tolerance,
            force=force,
            allow_not_accepted=allow_not_accepted,
            overwrite=overwrite,
            progress=advance,
        )
    report: dict[str, Any] = {"output": output, "target": to, "files": exported.files, "check": exported.check}
    return Report(report, f"{output}: {', '.join(exported.files)}\n{exported.check.describe()}")
