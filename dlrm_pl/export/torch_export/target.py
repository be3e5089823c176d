"""Write a quantized model as a ``torch.export`` program, and score batches with it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.export.feed import feed_of
from dlrm_pl.export.numbers import Numbers
from dlrm_pl.export.target import LogitsOf, TargetName, full_disk_as_such
from dlrm_pl.export.torch_export.module import PlainDLRM

FILE_NAME = "model.pt2"
METADATA_NAME = "dlrm_pl.json"
"""Name of the extra file with the metadata: ``torch.export.load(path, extra_files={METADATA_NAME: ""})``."""

_EXAMPLE_ROWS = 8


class Pt2Target:
    """``torch.export``; see ``Target``."""

    name: TargetName = "pt2"
    file_names = (FILE_NAME,)
    copies = 1
    is_read_whole = True  # torch.export.load() does not map files.

    def require(self) -> None:
        """Check nothing: torch is always installed."""

    def write(self, numbers: Numbers, folder: Path, example: ClickBatch) -> None:
        """Write the model."""
        bags = example.offsets is not None
        module = PlainDLRM(numbers, bags=bags).eval()
        batch = torch.export.Dim("batch")
        shapes: dict[str, Any] = {"dense": {0: batch}, "indices": {0: torch.export.Dim("lookups") if bags else batch}}
        if bags:
            shapes["offsets"] = {0: numbers.model.architecture.num_tables * batch + 1}
        with torch.no_grad():
            program = torch.export.export(
                module, _tensors(first_samples(example, _EXAMPLE_ROWS)), dynamic_shapes=shapes, strict=False
            )
        with full_disk_as_such(folder / FILE_NAME):
            torch.export.save(program, folder / FILE_NAME, extra_files={METADATA_NAME: "{}"})

    def describe(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write metadata next to the program in its archive, in place of the empty metadata."""
        path = folder / FILE_NAME
        with zipfile.ZipFile(path) as archive:
            entry = next(name for name in archive.namelist() if name.endswith(f"extra/{METADATA_NAME}"))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
            archive.NameToInfo.pop(entry)
            archive.filelist = [info for info in archive.filelist if info.filename != entry]
            archive.writestr(entry, json.dumps(metadata))

    def logits_of(self, folder: Path, threads: int) -> LogitsOf:
        """Load the model; torch's own number of threads applies."""
        del threads
        model = torch.export.load(folder / FILE_NAME).module()

        def score(batch: ClickBatch) -> Tensor:
            with torch.no_grad():
                logits: Tensor = model(*_tensors(batch))[0]
            return logits

        return score

    def programs(self) -> str:
        """Name the program that wrote and ran the file."""
        return f"torch {torch.__version__}"


def _tensors(batch: ClickBatch) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in feed_of(batch).values())
