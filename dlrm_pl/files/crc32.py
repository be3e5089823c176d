"""Checksum of bytes computed from the checksums of their parts."""

from __future__ import annotations

from functools import cache, lru_cache

_POLYNOMIAL = 0xEDB88320  # CRC-32's, as in zip archives; the lowest bit is the highest power.


def crc32_of_both(first: int, second: int, second_size: int) -> int:
    """Return the CRC-32 of two runs of bytes, one after the other.

    Args:
        first: CRC-32 of the first run.
        second: CRC-32 of the second run.
        second_size: number of bytes of the second run.

    Source: ``crc32_combine`` of zlib. Appending a zero bit multiplies a checksum by x modulo the polynomial. This map
    is linear, so the map for many bits is the square of the map for half as many.
    """
    return _mapped(_appending(second_size), first) ^ second


@lru_cache(maxsize=64)
def _appending(size: int) -> tuple[int, ...]:
    """Return the linear map of a checksum that corresponds to appending this many zero bytes."""
    result, power = tuple(1 << bit for bit in range(32)), 0
    while size:
        if size & 1:
            result = tuple(_mapped(_zeros(power), column) for column in result)
        power += 1
        size >>= 1
    return result


@cache
def _zeros(power: int) -> tuple[int, ...]:
    """Return the map for 2 ** power zero bytes."""
    if power:
        return _squared(_zeros(power - 1))
    one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    return _squared(_squared(_squared(one_bit)))


def _mapped(columns: tuple[int, ...], vector: int) -> int:
    result = 0
    for column in columns:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


def _squared(columns: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_mapped(columns, column) for column in columns)
