"""Names that a checkpoint's pickle may use, and what each one makes; any other name is refused.

No Python, NumPy or torch function is called: each name stands for a constructor below, which checks its arguments and
makes a description or a plain value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.file_tensor import Storage
from dlrm_pl.torch_file.open_file import OpenFile
from dlrm_pl.torch_file.pickle_machine import Buildable, Function, checked_key
from dlrm_pl.torch_file.stored import StoredTensor


@dataclass(frozen=True)
class StorageType:
    """The class of a storage, such as ``torch.FloatStorage``."""

    name: str
    dtype: torch.dtype


@dataclass(eq=False)
class NumpyDtype(Buildable):
    """A NumPy dtype of plain numbers."""

    code: str
    order: str = "<"

    def build(self, state: Any) -> None:
        """Set the byte order, the only part of the state that matters."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise CheckpointError("corrupt: a NumPy dtype has no valid state")
        self.order = "<" if state[1] == "=" else state[1]

    def resolve(self) -> np.dtype[Any]:
        """Return the dtype.

        Raises:
            CheckpointError: the dtype does not hold numbers, but for example objects.
        """
        if self.code not in _NUMPY_CODES:
            raise CheckpointError(f"holds NumPy values of type {self.code[:20]!r}, but only numbers are allowed")
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class NumpyArray(Buildable):
    """A NumPy array of plain numbers, whose values are set after it is made."""

    value: npt.NDArray[Any] | None = None

    def filled(self) -> npt.NDArray[Any]:
        """Return the array.

        Raises:
            CheckpointError: its values were never set.
        """
        if self.value is None:
            raise CheckpointError("corrupt: a NumPy array has no values")
        return self.value

    def build(self, state: Any) -> None:
        """Set shape, dtype and bytes."""
        if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], NumpyDtype):
            raise CheckpointError("corrupt: a NumPy array has no valid state")
        _, shape, dtype, is_fortran, content = state
        data = _bytes(content)
        if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
            raise CheckpointError("corrupt: a NumPy array has no valid shape")
        flat = np.frombuffer(data, dtype.resolve())
        self.value = flat.reshape(shape, order="F" if is_fortran else "C").copy()


def make_find_global(file: OpenFile) -> Callable[[str, str], Any]:
    """Make the function that looks up globals, for the tensors of this file.

    Returns:
        A function of a module and a name. It raises a CheckpointError for a global that is not allowed.
    """

    def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
        return _tensor(file, storage, None, offset, shape, stride)

    def tensor_of_dtype(
        storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
    ) -> StoredTensor:
        return _tensor(file, storage, dtype, offset, shape, stride)

    tensors = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_of_dtype,
    }
    known = _GLOBALS | {name: Function(name, call) for name, call in tensors.items()}

    def find_global(module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in known:
            raise CheckpointError(_refusal(full))
        return known[full]

    return find_global


def _refusal(name: str) -> str:
    printable = ascii(name[:100])[1:-1]
    advice = ""
    if "qtensor" in name or name.startswith(("torch.Q", "torch.quantization.", "torch.ao.")):
        advice = " It belongs to a quantized model; give the float checkpoint."
    elif name.startswith(("torch.distributed.", "torchrec.")):
        advice = (
            " It is part of a model that is spread over several processes; save that with torch.distributed.checkpoint."
        )
    elif name.startswith(("torch.nn.", "__main__.", "dlrm_")):
        advice = " It is the class of a whole module; save the state_dict() of that module instead."
    return f"holds {printable}, which is not allowed in a checkpoint; none of its code was run.{advice}"


def _tensor(file: OpenFile, storage: Any, dtype: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype | None):
        raise CheckpointError("corrupt: a tensor does not refer to its data")
    if type(shape) is not tuple or type(stride) is not tuple:
        raise CheckpointError("corrupt: a tensor has no valid shape and stride")
    return StoredTensor(file, storage, dtype or storage.dtype, shape, stride, offset)


def _parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, StoredTensor):
        raise CheckpointError("corrupt: a parameter is not made from a tensor")
    return data


def _dict(pairs: Any = ()) -> dict[Any, Any]:
    if isinstance(pairs, dict):
        return dict(pairs)
    return {checked_key(key): value for key, value in _sequence(pairs)}


def _default_dict(_factory: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    return _dict(pairs)


def _set(values: Any = ()) -> set[Any]:
    return {checked_key(value) for value in _sequence(values)}


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(_sequence(values))


def _sequence(values: Any) -> list[Any] | tuple[Any, ...]:
    """Check what a container is made from; text is refused, since each character would become a value."""
    if not isinstance(values, list | tuple):
        raise CheckpointError(f"corrupt: a container is made from a {type(values).__name__}")
    return values


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise CheckpointError("corrupt: a device has no valid name")
    return kind if index is None else f"{kind}:{index}"


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("corrupt: bytes are not encoded as latin-1 text")
    return text.encode("latin-1")


def _bytes(content: Any) -> bytes:
    """Return bytes, which Python 2 pickled as text."""
    if isinstance(content, str):
        return content.encode("latin-1")
    if not isinstance(content, bytes):
        raise CheckpointError("corrupt: a NumPy value has no bytes")
    return content


def _numpy_dtype(code: Any, *_: Any) -> NumpyDtype:
    if not isinstance(code, str):
        raise CheckpointError("corrupt: a NumPy dtype has no code")
    return NumpyDtype(code)


def _numpy_scalar(dtype: Any, content: Any = None) -> bool | int | float:
    if not isinstance(dtype, NumpyDtype):
        raise CheckpointError("corrupt: a NumPy number has no dtype")
    (value,) = np.frombuffer(_bytes(content), dtype.resolve())
    plain: bool | int | float = value.item()
    return plain


def _numpy_array(*_: Any) -> NumpyArray:
    return NumpyArray()


_NUMPY_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _default_dict,
    "builtins.dict": _dict,
    "builtins.set": _set,
    "_codecs.encode": _encode,
    "numpy.dtype": _numpy_dtype,
    "numpy.ndarray": _numpy_array,
    # The second name of each pair is NumPy 2's.
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
}
_GLOBALS: dict[str, Any] = {
    **{name: Function(name, call) for name, call in _FUNCTIONS.items()},
    # The same functions under their Python 2 names.
    **{f"__builtin__.{kind}": Function(kind, _FUNCTIONS[f"builtins.{kind}"]) for kind in ("dict", "set")},
    **{f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    **{
        f"{home}.{name}": StorageType(name, kind) for home in ("torch", "torch.cuda") for name, kind in STORAGES.items()
    },
    **{f"{home}.UntypedStorage": StorageType("UntypedStorage", torch.uint8) for home in ("torch", "torch.storage")},
}
