"""The file that the weights of a model are maps of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dlrm_pl.files.watched import Watch
from dlrm_pl.torch_file.stored import StoredTensor


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """Where the weights of a model lie as long as nobody writes to them.

    Attributes:
        path: of the checkpoint.
        tensors: in it, by the name of the model's parameter.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]

    @cached_property
    def watch(self) -> Watch:
        """Over the file, which must not be changed in place: pages that nobody wrote to follow it."""
        return Watch({id(tensor.file): tensor.file for tensor in self.tensors.values()}.values())

    def __deepcopy__(self, memo: dict[int, Any]) -> WeightsFile:
        """The same file; an open one has no copy."""
        return self

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """A model that is sent to another process takes its weights along, and no file."""
        return _no_file, ()


def _no_file() -> None:
    return None
