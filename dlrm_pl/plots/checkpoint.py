"""A checkpoint as a page: its training curves and its tables."""

from __future__ import annotations

from dlrm_pl.curves.figure import describe_training, training_figures
from dlrm_pl.curves.training import TrainingRecord
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.inspection import Description
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.pages.table import Table
from dlrm_pl.pages.terms import Term, Terms
from dlrm_pl.plots.parts import Drawn, Portrait, Section

_EXPLAINED = {
    "optimizer step": "One update of the weights, after each batch or after several accumulated batches.",
    "loss": "Mean training loss of the batches since the previous point, and log loss of all val rows.",
    "AUROC": "Probability that a clicked row of val is scored above a row without a click.",
    "samples/s": "Rows trained on per second by all processes, not counting the time of validations.",
}


def checkpoint_portrait(description: Description) -> Portrait:
    """Describe the run that a checkpoint was saved by.

    Args:
        description: what ``inspect`` has found and checked.

    Raises:
        ConfigurationError: the checkpoint has no record of its training.
        CheckpointError: the record is damaged.
    """
    path, terms = description.path, Terms(_EXPLAINED)
    checkpoint = open_checkpoint(path)
    record = TrainingRecord.of_checkpoint(checkpoint, str(path))
    if record is None:
        raise ConfigurationError(
            f"{path}: has no curves to draw: it was imported, or saved without TrainingCurves, as by earlier "
            "versions. `fit` records them; without --plot, inspect shows what the checkpoint holds."
        )
    drawn = [Drawn(svg, "") for svg in training_figures(record)]
    words: list[str | Term] = ["Over each ", terms["optimizer step"], ": ", terms["loss"], ", ", terms["AUROC"]]
    words += [" on val, learning rate and ", terms["samples/s"], ", as far as they were recorded."]
    training = Section("Training", words=[words], figures=drawn)
    tables, columns = description.data["tables"], CheckpointContract.read(checkpoint).columns
    names = [f"table {index}" for index in range(len(tables))]
    if columns is not None:
        names = [column.name for column in columns.sparse]
    rows = [
        (name, f"{table['rows']:,}", table["dtype"], f"{table['bytes']:,}")
        for name, table in zip(names, tables, strict=True)
    ]
    facts = [
        ("file", str(path)),
        ("parameters", f"{description.data['parameters']:,}"),
        ("dataset fingerprint", description.data["dataset_fingerprint"] or "none"),
    ]
    held = Section("Tables", tables=[Table("", ("table", "rows", "dtype", "bytes"), rows)])
    return Portrait(
        f"Checkpoint {path.absolute().name}",
        describe_training(record),
        [training, held, Section("Facts", tables=[Table("", ("", ""), facts)])],
        terms=terms,
    )
