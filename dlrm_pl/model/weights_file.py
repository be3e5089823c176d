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
        tensors: its tensors, by the name of the model's parameter.
        digests: digests that the file states of the rows of tables, by the name of the parameter, where these were not
            changed in memory since.
    """

    path: Path
    tensors: Mapping[str, FileTensor]
    digests: Mapping[str, FileTensor] = field(default_factory=dict)

    @cached_property
    def watch(self) -> Watch:
        """Watch the file, which must not be changed in place: pages that were not written to would show the change."""
        return Watch({id(file): file for tensor in self.tensors.values() for file in tensor.files}.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightsFile:
        """Return the same object, since an open file cannot be copied."""
        return self

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickle as None: a model that is sent to another process takes its weights along, but no file."""
        return _no_file, ()


def _no_file() -> None:
    return None
