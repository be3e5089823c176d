"""Pickles that would create a folder if Python ran them, one for each way to name the called function."""

from __future__ import annotations

import struct
from collections.abc import Callable


def global_text(proof: str) -> bytes:
    return b"\x80\x02cposix\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


def stack_global(proof: str) -> bytes:
    return b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93X" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


def inst(proof: str) -> bytes:
    return b"(X" + struct.pack("<I", len(proof)) + proof.encode() + b"iposix\nmkdir\n."


def obj(proof: str) -> bytes:
    return b"(cposix\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"o."


def newobj(proof: str) -> bytes:
    return b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85\x81."


def build(proof: str) -> bytes:
    """An allowed global whose state would turn it into another."""
    return b"\x80\x02ccollections\nOrderedDict\n)R}X\x08\x00\x00\x00__call__cposix\nmkdir\nsb."


def extension(code: bytes) -> Callable[[str], bytes]:
    return lambda proof: b"\x80\x02" + code + b"X" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


HOSTILE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "REDUCE": (global_text, r"posix\.mkdir"),
    "STACK_GLOBAL": (stack_global, r"posix\.mkdir"),
    "INST": (inst, r"posix\.mkdir"),
    "OBJ": (obj, r"posix\.mkdir"),
    "NEWOBJ": (newobj, r"os\.mkdir"),
    "BUILD": (build, r"posix\.mkdir"),
    "EXT1": (extension(b"\x82\x05"), r"entry 5 .*EXT1"),
    "EXT2": (extension(b"\x83\x05\x01"), r"entry 261 .*EXT2"),
    "EXT4": (extension(b"\x84\x05\x00\x00\x01"), r"entry 16777221 .*EXT4"),
}
"""Function of the path of that folder, and a pattern of the error message."""
