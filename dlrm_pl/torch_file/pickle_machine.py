"""Read pickles as data: an interpreter for the opcodes that checkpoints need, which cannot call Python functions.

Python's own unpickler, even with a ``find_class`` that refuses everything, still sets the state of objects, looks into
the extension registry, and lets one opcode of five bytes request gigabytes. Here, an opcode either does what is written
below or is refused, and a global is either an entry of an explicit dictionary or is refused.

Opcodes: see the documentation of Python's ``pickletools``, which also decodes their arguments.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.byte_window import ByteWindow

# A checkpoint's pickle has a few kilobytes; each byte of a hostile one can take a hundred bytes of memory.
MAX_PICKLE_BYTES = 16 << 20
# A tensor takes about fifty steps, each of which takes up to 300 bytes and a few microseconds.
MAX_STEPS = 1_000_000
# Limit for all arguments of functions and all states together: their results are as large, or a few times as large.
MAX_ARGUMENT_BYTES = 2 * MAX_PICKLE_BYTES
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_MAX_INTEGER_BITS = 128  # The magic number of torch's older format has 80.
_MAX_KEY_PARTS = 16
_MAX_KEY_BITS = 60  # Up to here an int's hash is the int itself, so no two of them have the same hash.


@dataclass(frozen=True)
class Function:
    """A global that may be called: a constructor of this package under the pickle's name."""

    name: str
    call: Callable[..., Any]


class Buildable:
    """An object of this package whose state a pickle may set once."""

    is_key = False
    """Whether a dict may have it as a key; its hash is then that of an object, which no other object has."""

    def build(self, state: Any) -> None:
        """Check and set the state.

        Raises:
            CheckpointError: it is not a valid state for this kind of object.
        """
        raise NotImplementedError


def load_pickle(
    window: ByteWindow, find_global: Callable[[str, str], Any], persistent_load: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle, and leave the window at the byte after it.

    Args:
        window: bytes that start with the pickle.
        find_global: returns the object for ``module, name``, or raises.
        persistent_load: returns the object for a persistent id.

    Raises:
        CheckpointError: the pickle is cut short or corrupt, or requests something that is not allowed, or more work or
            memory than a checkpoint needs.
    """
    machine = _Machine(find_global, persistent_load)
    for _ in range(MAX_STEPS):
        code = window.read(1).decode("latin-1")
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise CheckpointError(f"corrupt: byte {window.position - 1:,} is not an opcode of a pickle ({code!r})")
        if opcode.name in ("STRING", "PERSID"):  # Quoted text, in a protocol that torch never used.
            raise CheckpointError(_refusal(opcode.name, None))
        argument: Any
        try:
            if opcode.name in ("GLOBAL", "INST"):  # pickletools would also decode escape sequences here.
                argument = [window.readline()[:-1].decode() for _ in range(2)]
            else:
                argument = None if opcode.arg is None else opcode.arg.reader(cast(IO[bytes], window))
        except ValueError as error:  # Includes UnicodeDecodeError.
            raise CheckpointError(
                f"corrupt: the pickle's {opcode.name} before byte {window.position:,} cannot be decoded ({error})"
            ) from error
        if opcode.name == "STOP":
            return machine.finish()
        machine.run(opcode.name, argument)
    raise CheckpointError(f"its pickle takes more than {MAX_STEPS:,} steps, more than a checkpoint needs")


class _Machine:
    """The stack, the marks on it, and the memo."""

    def __init__(
        self, find_global: Callable[[str, str], Any], persistent_load: Callable[[Any], Any] | None = None
    ) -> None:
        self._find_global = find_global
        self._persistent_load = persistent_load
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # The stacks below the marks.
        self._memo: dict[int, Any] = {}
        self._argument_bytes = 0

    def run(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_INTEGER_BITS:
                raise CheckpointError(f"holds a number of {argument.bit_length()} bits, which no checkpoint needs")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _MEMO_WRITES:
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self._memo:
                raise CheckpointError(f"corrupt: the pickle refers to its object {argument}, which does not exist")
            self._stack.append(self._memo[argument])
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise CheckpointError(_refusal(name, argument))

    def finish(self) -> Any:
        """Return the result."""
        if len(self._stack) != 1 or self._below:
            raise CheckpointError("corrupt: the pickle does not end with exactly one object")
        return self._stack[0]

    def _top(self) -> Any:
        if not self._stack:
            raise CheckpointError("corrupt: the pickle uses more objects than it made")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        if not self._below:
            raise CheckpointError("corrupt: the pickle ends a sequence that it did not begin")
        values, self._stack = self._stack, self._below.pop()
        return values

    def _collect(self, kind: Callable[[list[Any]], Any]) -> None:
        values = self._pop_to_mark()  # This also restores the stack below.
        self._stack.append(kind(values))

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _drop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_to_mark()

    def _drop_to_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise CheckpointError(f"corrupt: the pickle appends to a {type(target).__name__}")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict:
            raise CheckpointError(f"corrupt: the pickle sets items of a {type(target).__name__}")
        target.update(pairs_to_dict(values))

    def _add_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise CheckpointError(f"corrupt: the pickle adds items to a {type(target).__name__}")
        target.update(checked_key(value) for value in values)

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _global(self, argument: Any) -> None:
        module, name = argument
        self._stack.append(self._find_global(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("corrupt: the pickle names a global, but not by a string")
        self._stack.append(self._find_global(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Function):
            raise CheckpointError(f"the pickle calls a {type(function).__name__}, which cannot be called")
        if type(arguments) is not tuple:
            raise CheckpointError(f"corrupt: the pickle calls {function.name} without arguments")
        self._count(arguments)
        try:
            self._stack.append(function.call(*arguments))
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"corrupt: invalid arguments for {function.name} in the pickle ({error})") from error

    def _count(self, arguments: tuple[Any, ...]) -> None:
        """Count the bytes of arguments before a function uses them: one memoised text can be used many times."""
        self._argument_bytes += sum(map(sys.getsizeof, arguments))
        if self._argument_bytes > MAX_ARGUMENT_BYTES:
            raise CheckpointError(
                f"its pickle makes values of more than {MAX_ARGUMENT_BYTES:,} bytes, more than a checkpoint needs"
            )

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Buildable):
            self._count(state if type(state) is tuple else (state,))
            try:
                target.build(state)
            except (TypeError, ValueError, OverflowError) as error:
                raise CheckpointError(f"corrupt: the pickle sets an invalid state ({error})") from error
        elif type(target) is not dict or type(state) is not dict:  # A state dict's `_metadata` is not used here.
            raise CheckpointError(f"the pickle sets the state of a {type(target).__name__}, which has no state")

    def _persistent(self, _: Any) -> None:
        if self._persistent_load is None:
            raise CheckpointError("corrupt: the pickle refers to a tensor's data in a part that has no tensors")
        self._stack.append(self._persistent_load(self._pop()))


def pairs_to_dict(values: list[Any]) -> dict[Any, Any]:
    """Make a dict from ``[key, value, key, value, ...]``.

    Raises:
        CheckpointError: the last key has no value, or a key is not plain.
    """
    if len(values) % 2:
        raise CheckpointError("corrupt: the pickle has a key without a value")
    return {checked_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def checked_key(key: Any) -> Any:
    """Return a key that is plain or a flat tuple; hashing deeply nested tuples would crash the interpreter.

    Keys that can easily be crafted to have the same hash are refused too, since a dict of 100,000 such keys would take
    hours: large numbers, and tuples of several numbers.

    Raises:
        CheckpointError: the key is of any other kind.
    """
    if isinstance(key, Buildable) and key.is_key:
        return key
    if type(key) is tuple and len(key) > _MAX_KEY_PARTS:  # A tuple's hash is not cached.
        raise CheckpointError(f"the pickle has a tuple of {len(key):,} parts in a key, which no checkpoint needs")
    numbers = 0
    for part in key if type(key) is tuple else (key,):
        if not isinstance(part, str | bytes | int | float | None):
            raise CheckpointError(
                f"the pickle has a {type(part).__name__} in a key, but only text and numbers are allowed"
            )
        if isinstance(part, int) and part.bit_length() > _MAX_KEY_BITS:
            raise CheckpointError(
                f"the pickle has a number of {part.bit_length()} bits in a key, which no checkpoint needs"
            )
        numbers += isinstance(part, int | float)
    if numbers > 1:
        raise CheckpointError("the pickle has a key of several numbers, which no checkpoint needs")
    return key


def _refusal(name: str, argument: Any) -> str:
    if name == "INST":
        return f"holds {ascii('.'.join(argument)[:100])[1:-1]}, named by an opcode (INST) that no checkpoint needs"
    if name.startswith("EXT"):
        return f"holds entry {argument} of Python's extension registry ({name}), which no checkpoint needs"
    return f"uses the pickle opcode {name}, which no checkpoint needs"


# Opcodes whose decoded argument is the value.
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_BYTES = {"BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_VALUES = _NUMBERS | _BYTES | _TEXTS
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_HANDLERS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "POP": _Machine._drop,
    "POP_MARK": _Machine._drop_to_mark,
    "DUP": lambda machine, _: machine._stack.append(machine._top()),
    "APPEND": lambda machine, _: machine._append([machine._pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._pop_to_mark()),
    "LIST": lambda machine, _: machine._collect(list),
    "TUPLE": lambda machine, _: machine._collect(tuple),
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "DICT": lambda machine, _: machine._collect(pairs_to_dict),
    "SETITEM": _Machine._set_item,
    "SETITEMS": lambda machine, _: machine._set_items(machine._pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine._add_items(machine._pop_to_mark()),
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,  # The same here, since globals are functions, not classes.
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent,
}
