"""File that the weights of a model are memory-mapped from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dlrm_pl.files.watched import Watch
from dlrm_pl.torch_file.file_tensor import FileTensor


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The checkpoint that holds the weights of a model until they are written to.

    Attributes:
        path: path of the checkpoint.
        tensors: its tensors, by the names of the model's parameters.
        digests: digests that the file states for the rows of tables, by the names of their parameters, except for
            tables that were changed in memory since.
    """

    path: Path
    tensors: Mapping[str, FileTensor]
    digests: Mapping[str, FileTensor] = field(default_factory=dict)

    @cached_property
    def watch(self) -> Watch:
        """Watch the file, which must not be changed in place: mapped pages not yet written to would change too."""
        return Watch({id(file): file for tensor in self.tensors.values() for file in tensor.files}.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightsFile:
        """Return the same object, since an open file cannot be copied."""
        return self

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickle as None: a model that is sent to another process takes its weights along, but not the file."""
        return _no_file, ()


def _no_file() -> None:
    return None
