"""Sections of a model card about using the model: code, purpose, limits, verification."""

from __future__ import annotations

import json
import shlex

from dlrm_pl.artifact.card.facts import CardFacts
from dlrm_pl.data.encoding.encoders import encoder_of_columns
from dlrm_pl.data.encoding.vocabulary_file import VOCABULARY_NAME

_FOLDER = "artifact"


def use(facts: CardFacts) -> str:
    """Return five lines of code that load the model and score a row."""
    load = (
        f"artifact = dlrm_pl.Artifact.from_pretrained({json.dumps(facts.repo_id)})"
        if facts.repo_id
        else f'artifact = dlrm_pl.load_artifact("{_FOLDER}")  # the folder with the files'
    )
    extras = [*(["frames"] if takes_raw_values(facts) else []), *(["hub"] if facts.repo_id else [])]
    needs = f"`dlrm-pl[{','.join(extras)}]`" if extras else "`dlrm-pl`"
    imports, rows, comment = _rows(facts)
    code = "\n".join([*imports, "", load, rows, f"print(artifact.predict({_argument(facts)}))"])
    return (
        f"## Use\n\nWith {needs} installed (Linux, no GPU):\n\n```python\n{code}\n```\n\n{comment} The results are "
        "float32 probabilities, one per row. `dlrm-pl serve --artifact` serves the model over HTTP."
    )


def takes_raw_values(facts: CardFacts) -> bool:
    """Return whether the model itself maps raw values to ids."""
    return VOCABULARY_NAME in facts.manifest.files or encoder_of_columns(facts.columns) is not None


def _rows(facts: CardFacts) -> tuple[list[str], str, str]:
    """Imports, the line that makes one row, and what it is."""
    architecture = facts.architecture
    dense, tables = architecture.bottom_mlp[0], architecture.num_tables
    if takes_raw_values(facts):
        return (
            ["import dlrm_pl"],
            "rows = {name: [None] for name in artifact.columns.feature_names}",
            "This is one row whose values are all missing: give a list of values for each column, or a frame of "
            "pandas, polars or Arrow.",
        )
    comment = (
        f"`dense` holds the {dense} numbers of a row exactly as they are in the log, and `sparse` the ids that the "
        f"dataset's dictionaries assign to its {tables} categories. The dictionaries are not part of this model."
    )
    if facts.columns is None or facts.columns.is_one_hot:
        rows = f'rows = {{"dense": np.zeros((1, {dense})), "sparse": np.zeros((1, {tables}), dtype=int)}}'
        return ["import numpy as np", "import dlrm_pl"], rows, comment
    inputs = f"torch.zeros(1, {dense}), torch.zeros({tables}, dtype=int), torch.arange({tables + 1})"
    rows = f"rows = dlrm_pl.ClickBatch({inputs})"
    return ["import torch", "import dlrm_pl"], rows, comment.replace("`sparse`", "`indices` and `offsets`")


def _argument(facts: CardFacts) -> str:
    return "rows, raw=True" if takes_raw_values(facts) else "rows"


def purpose(facts: CardFacts) -> str:
    """Return what the model is for, and what it is not for."""
    ids = (
        "Its own dictionaries map categories to ids."
        if VOCABULARY_NAME in facts.manifest.files
        else (
            "Category ids must come from the dataset that it was trained on: in any other dataset, the same ids "
            "stand for other categories."
        )
        if not takes_raw_values(facts)
        else "Category ids are computed from the values themselves."
    )
    lines = [
        f"The model ranks rows with the columns above by their click probability. {ids}",
        "The certificate says what *quantization* costs, on the rows named above. It does not say that the model is "
        "good, or that it suits other logs, times or places; compare its metrics with those of your own model.",
        "The calibration ratio says how well the probabilities are calibrated, and only on those rows.",
        "Differences between groups of people were not examined.",
        "A model can leak rows that it was trained on, and the dictionaries contain the category values of the log.",
    ]
    return "## Intended use and limits\n\n" + "\n".join(f"- {line}" for line in lines)


def verify(facts: CardFacts) -> str:
    """Return how a reader can check the files and the numbers."""
    download = f"hf download {shlex.quote(facts.repo_id)} --local-dir {_FOLDER}\n" if facts.repo_id else ""
    return (
        "## Verify\n\n`inspect --full` compares every file with its checksum, and the numbers of the certificate "
        "with each other. `verify` scores the test rows again; given the checkpoint, it also measures the drop "
        "again. Checksums detect damage and edits, but they are not signatures: get the files from a source that you "
        f"trust.\n\n```sh\n{download}dlrm-pl inspect {_FOLDER} --full\ndlrm-pl verify --artifact {_FOLDER} --data "
        "DATASET --ckpt_path CHECKPOINT\n```"
    )
