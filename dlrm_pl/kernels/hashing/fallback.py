"""BLAKE3 of many equal-sized blocks at once in NumPy, for installs without the native library.

Source: J. O'Connor et al., "BLAKE3: one function, fast everywhere", 2021.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CHUNK = 1024
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_INITIAL = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_NEXT_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
# Indices of the words of the state that are mixed with each other.
_COLUMNS = tuple((i, 4 + i, 8 + i, 12 + i) for i in range(4))
_DIAGONALS = tuple((i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4))

_Words = npt.NDArray[np.uint32]


def blake3(data: npt.NDArray[np.uint8], block_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the BLAKE3 of each block of a run of bytes, uint8 ``[blocks, 32]``; the last may be shorter."""
    whole = data.size // block_bytes * block_bytes
    digests = [_of_equal_blocks(data[:whole].reshape(-1, block_bytes))] if whole else []
    if whole < data.size:
        digests.append(_of_equal_blocks(data[whole:][None]))
    return np.concatenate(digests) if digests else np.empty((0, 32), np.uint8)


def _of_equal_blocks(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the digests of blocks ``[blocks, bytes]``."""
    count, size = blocks.shape
    padded = np.zeros((count, -(-size // 64) * 64), np.uint8)
    padded[:, :size] = blocks
    messages = padded.view("<u4").reshape(count, -1, 16).transpose(1, 2, 0)
    chunks = -(-size // _CHUNK)
    stack: list[_Words] = []
    value = np.empty((8, count), np.uint32)
    for chunk in range(chunks):
        value = _initial(count)
        first, last = 16 * chunk, min(16 * (chunk + 1), len(messages)) - 1
        for number in range(first, last + 1):
            flags = _CHUNK_START if number == first else 0
            if number == last:
                flags |= _CHUNK_END | (_ROOT if chunks == 1 else 0)
            value = _compressed(value, messages[number], chunk, min(64, size - 64 * number), flags)
        done = chunk + 1
        while done < chunks and not done & 1:
            value = _joined(stack.pop(), value, 0)
            done >>= 1
        if chunk + 1 < chunks:
            stack.append(value)
    while stack:
        left = stack.pop()
        value = _joined(left, value, 0 if stack else _ROOT)
    return np.ascontiguousarray(value.T.astype("<u4")).view(np.uint8).reshape(count, 32)


def _initial(count: int) -> _Words:
    return np.repeat(np.array(_INITIAL, np.uint32)[:, None], count, axis=1)


def _joined(left: _Words, right: _Words, flags: int) -> _Words:
    """Return the value of a tree by those of its halves."""
    return _compressed(_initial(left.shape[1]), np.concatenate([left, right]), 0, 64, _PARENT | flags)


def _compressed(value: _Words, words: _Words, counter: int, length: int, flags: int) -> _Words:
    """Return the chaining values after a message ``[16, blocks]``."""
    rest = np.array([*_INITIAL[:4], counter & 0xFFFFFFFF, counter >> 32, length, flags], np.uint32)
    v = np.concatenate([value, np.repeat(rest[:, None], value.shape[1], axis=1)])
    order = tuple(range(16))
    for _ in range(7):
        for lines, half in ((_COLUMNS, 0), (_DIAGONALS, 8)):
            for number, (a, b, c, d) in enumerate(lines):
                _mix(v, a, b, c, d, words[order[half + 2 * number]], words[order[half + 2 * number + 1]])
        order = tuple(order[position] for position in _NEXT_ORDER)
    result: _Words = v[:8] ^ v[8:]
    return result


def _mix(v: _Words, a: int, b: int, c: int, d: int, x: _Words, y: _Words) -> None:
    for word, by_d, by_b in ((x, 16, 12), (y, 8, 7)):
        v[a] += v[b] + word
        v[d] = _rotated(v[d] ^ v[a], by_d)
        v[c] += v[d]
        v[b] = _rotated(v[b] ^ v[c], by_b)


def _rotated(words: _Words, bits: int) -> _Words:
    return (words >> np.uint32(bits)) | (words << np.uint32(32 - bits))
