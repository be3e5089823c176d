"""Pickles read as data: an interpreter of the opcodes that checkpoints need, which can call nothing of Python's.

Python's own unpickler, even with a ``find_class`` that refuses, still sets the state of objects, looks into the
registry of extensions, and lets one opcode of five bytes ask for gigabytes. Here an opcode does what is written below
or is refused, and a global is an entry of an explicit dictionary or is refused.

Opcodes: the documentation of Python's ``pickletools``, which also decodes their arguments.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.byte_window import ByteWindow

# A checkpoint's pickle has some kilobytes; each byte of a hostile one can cost a hundred of memory.
MAX_PICKLE_BYTES = 16 << 20
# A tensor takes some fifty steps, each of which costs up to 300 bytes and some microseconds.
MAX_STEPS = 1_000_000
# What functions and states are given, again and again: their results are as large, or a few times so.
MAX_GIVEN_BYTES = 2 * MAX_PICKLE_BYTES
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_MAX_INTEGER_BITS = 128  # The magic number of torch's older format has 80.
_MAX_KEY_PARTS = 16
_MAX_KEY_BITS = 60  # Below, an int's hash is the int itself, and no two of them have one hash.


@dataclass(frozen=True)
class Function:
    """A global that may be called: our own constructor under the pickle's name."""

    name: str
    call: Callable[..., Any]


class Buildable:
    """An object of ours whose state a pickle may set, once."""

    def build(self, state: Any) -> None:
        """Take the state, checked.

        Raises:
            CheckpointError: not the state of such an object.
        """
        raise NotImplementedError


def load_pickle(
    window: ByteWindow, find_global: Callable[[str, str], Any], persistent_load: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle; the window then stands behind it.

    Args:
        window: where it starts.
        find_global: gives the stand-in of ``module, name``, or raises.
        persistent_load: gives the object of a persistent id.

    Raises:
        CheckpointError: cut short, damaged, asking for something that is not allowed, or for more work or memory than
            a checkpoint needs.
    """
    machine = _Machine(find_global, persistent_load)
    for _ in range(MAX_STEPS):
        code = window.read(1).decode("latin-1")
        opcode = _OPCODES.get(code)
        if opcode is None:
            raise CheckpointError(f"damaged: byte {window.position - 1:,} is no opcode of a pickle ({code!r})")
        if opcode.name in ("STRING", "PERSID"):  # Quoted text, in a protocol that torch never used.
            raise CheckpointError(_refusal(opcode.name, None))
        argument: Any
        try:
            if opcode.name in ("GLOBAL", "INST"):  # Where pickletools would also take escape sequences.
                argument = [window.readline()[:-1].decode() for _ in range(2)]
            else:
                argument = None if opcode.arg is None else opcode.arg.reader(cast(IO[bytes], window))
        except ValueError as error:  # UnicodeDecodeError is one.
            raise CheckpointError(
                f"damaged: the pickle's {opcode.name} before byte {window.position:,} cannot be decoded ({error})"
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
        self._below: list[list[Any]] = []  # Stacks under the marks.
        self._memo: dict[int, Any] = {}
        self._given_bytes = 0

    def run(self, name: str, argument: Any) -> None:
        """Do what one opcode says."""
        if name in _VALUES:
            if isinstance(argument, int) and argument.bit_length() > _MAX_INTEGER_BITS:
                raise CheckpointError(f"a number of {argument.bit_length()} bits, which no checkpoint needs")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _MEMO_WRITES:
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self._memo:
                raise CheckpointError(f"damaged: the pickle refers to its object {argument}, which is not there")
            self._stack.append(self._memo[argument])
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise CheckpointError(_refusal(name, argument))

    def finish(self) -> Any:
        """The result."""
        if len(self._stack) != 1 or self._below:
            raise CheckpointError("damaged: the pickle ends with something left over, or nothing")
        return self._stack[0]

    def _top(self) -> Any:
        if not self._stack:
            raise CheckpointError("damaged: the pickle takes more objects than it made")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        if not self._below:
            raise CheckpointError("damaged: the pickle ends a sequence that it did not begin")
        values, self._stack = self._stack, self._below.pop()
        return values

    def _collect(self, kind: Callable[[list[Any]], Any]) -> None:
        values = self._pop_to_mark()  # Which also brings back the stack below.
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
            raise CheckpointError(f"damaged: the pickle appends to a {type(target).__name__}")
        target.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict:
            raise CheckpointError(f"damaged: the pickle sets items of a {type(target).__name__}")
        target.update(pairs_to_dict(values))

    def _add_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise CheckpointError(f"damaged: the pickle adds items to a {type(target).__name__}")
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
            raise CheckpointError("damaged: the pickle names a global by something else than text")
        self._stack.append(self._find_global(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Function):
            raise CheckpointError(f"the pickle calls a {type(function).__name__}, which cannot be called")
        if type(arguments) is not tuple:
            raise CheckpointError(f"damaged: the pickle calls {function.name} without arguments")
        self._give(arguments)
        try:
            self._stack.append(function.call(*arguments))
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"damaged: {function.name} cannot be made as the pickle asks ({error})") from error

    def _give(self, arguments: tuple[Any, ...]) -> None:
        """Count what is given to a function before it makes something of it: one memoised text can be given often."""
        self._given_bytes += sum(map(sys.getsizeof, arguments))
        if self._given_bytes > MAX_GIVEN_BYTES:
            raise CheckpointError(
                f"its pickle makes values of more than {MAX_GIVEN_BYTES:,} bytes, more than a checkpoint needs"
            )

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Buildable):
            self._give(state if type(state) is tuple else (state,))
            try:
                target.build(state)
            except (TypeError, ValueError, OverflowError) as error:
                raise CheckpointError(f"damaged: the pickle sets a state that does not fit ({error})") from error
        elif type(target) is not dict or type(state) is not dict:  # A state dict's `_metadata` is of no use here.
            raise CheckpointError(f"the pickle sets the state of a {type(target).__name__}, which has none")

    def _persistent(self, _: Any) -> None:
        if self._persistent_load is None:
            raise CheckpointError("damaged: the pickle refers to a tensor's data where there can be none")
        self._stack.append(self._persistent_load(self._pop()))


def pairs_to_dict(values: list[Any]) -> dict[Any, Any]:
    """``[key, value, key, value, ...]`` -> dict.

    Raises:
        CheckpointError: an odd number, or a key that is not plain.
    """
    if len(values) % 2:
        raise CheckpointError("damaged: the pickle has a key without a value")
    return {checked_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def checked_key(key: Any) -> Any:
    """The key, when it is plain or a flat tuple: hashing tuples nested deeply would end the interpreter.

    Nor may it be one of those that are easily made to have the same hash, by which a dict of some 100,000 would take
    hours: large numbers, and tuples of several.

    Raises:
        CheckpointError: another key.
    """
    if type(key) is tuple and len(key) > _MAX_KEY_PARTS:  # Whose hash is computed anew each time.
        raise CheckpointError(f"the pickle has a tuple of {len(key):,} in a key, which no checkpoint needs")
    numbers = 0
    for part in key if type(key) is tuple else (key,):
        if not isinstance(part, str | bytes | int | float | None):
            raise CheckpointError(f"the pickle has a {type(part).__name__} in a key, where text and numbers may be")
        if isinstance(part, int) and part.bit_length() > _MAX_KEY_BITS:
            raise CheckpointError(f"the pickle has a number of {part.bit_length()} bits in a key")
        numbers += isinstance(part, int | float)
    if numbers > 1:
        raise CheckpointError("the pickle has a key of several numbers, which no checkpoint needs")
    return key


def _refusal(name: str, argument: Any) -> str:
    if name == "INST":
        return f"holds {ascii('.'.join(argument)[:100])[1:-1]}, by an opcode (INST) that no checkpoint needs"
    if name.startswith("EXT"):
        return f"holds entry {argument} of Python's extension registry ({name}), which no checkpoint needs"
    return f"uses the pickle opcode {name}, which no checkpoint needs"


# Opcodes whose decoded argument is the value.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
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
    "NEWOBJ": _Machine._reduce,  # The same here, since no class is ours to subclass.
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._persistent,
}
