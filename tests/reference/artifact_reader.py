"""Reads an artifact and scores rows; written from docs/formats.md alone. Slow: row by row and table by table."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference.safetensors_reader import Array, floats_of_bfloat16, read

F32 = np.float32


class ArtifactReader:
    """An artifact, or a delta together with the artifact that it changes."""

    def __init__(self, folder: Path, base: Path | None = None) -> None:
        self.manifest = json.loads((folder / "manifest.json").read_text())
        assert self.manifest["format"] in (3, 4)
        unsigned = {name: value for name, value in self.manifest.items() if name != "checksum"}
        assert hashlib.sha256(json.dumps(unsigned, sort_keys=True).encode()).hexdigest() == self.manifest["checksum"]
        self.files = {}
        for name, checksum in self.manifest["files"].items():
            self.files[name] = folder / name if (folder / name).exists() or base is None else base / name
            assert hashlib.sha256(self.files[name].read_bytes()).hexdigest() == checksum
        self.architecture = self.manifest["architecture"]
        self.ops = self.manifest["ops"]
        self.weights, _ = read(self.files["model.safetensors"])
        self.tables = [self._table(number) for number in range(len(self.architecture["table_sizes"]))]

    def _table(self, number: int) -> Array:
        """Return the packed rows of a table, after its patches."""
        name = f"tables.{number}"
        rows = read(self.files[f"table-{number:02d}-{self.ops[name]['dtype']}.safetensors"])[0]["table"].copy()
        assert len(rows) == self.ops[name]["rows"] == self.architecture["table_sizes"][number]
        for patch in self.manifest.get("patches", {}).get(name, []):
            tensors, _ = read(self.files[patch])
            rows[tensors["rows"]] = tensors["values"]
        return rows

    def logit(self, dense: Array, bags: Sequence[Sequence[int]]) -> np.float32:
        """Score a row of dense inputs ``[N]`` and the ids of each table."""
        x: Array = dense.astype(F32)
        for name in self._linears("bottom_mlp"):
            x = self._linear(name, x)
        z = self._interaction(x, bags)
        for name in self._linears("top_mlp"):
            z = self._linear(name, z)
        threshold = self.architecture["loss_threshold"]
        bound = F32(math.log((1 - threshold) / threshold)) if threshold else F32(np.inf)
        return F32(np.clip(z[0], -bound, bound))

    def _linears(self, part: str) -> list[str]:
        return [f"{part}.{number}" for number in range(sum(name.startswith(f"{part}.") for name in self.ops))]

    def _linear(self, name: str, x: Array) -> Array:
        """Compute one Linear of bytes or floats."""
        op, weight, bias = self.ops[name], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        if op["dtype"] != "int8":
            x = (weight @ _rounded(x.astype(F32), op["dtype"])).astype(F32) + bias
            return np.maximum(_rounded(x, op["dtype"]), F32(0 if op["relu"] else -np.inf))
        if x.dtype != np.uint8:
            x = _bytes(x, op["input_scale"], op["input_zero_point"])
        step = self.weights[f"{name}.weight_scale"].astype(np.float64) * op["input_scale"]
        weight = weight.astype(np.int64)
        added = bias.astype(np.float64) - step * op["input_zero_point"] * weight.sum(axis=1)
        if op["output_scale"] is not None:
            step, added = step / op["output_scale"], added / op["output_scale"] + op["output_zero_point"]
        y = (weight @ x.astype(np.int64)).astype(F32) * step.astype(F32) + added.astype(F32)
        if op["output_scale"] is None:
            return np.maximum(y, F32(0 if op["relu"] else -np.inf))
        return np.rint(np.clip(y, F32(op["output_zero_point"] if op["relu"] else 0), F32(255))).astype(np.uint8)

    def _interaction(self, dense: Array, bags: Sequence[Sequence[int]]) -> Array:
        kind, dtype = self.architecture["interaction"], self.ops["interaction"]["dtype"]
        if kind == "dot" and dtype == "int8":
            return self._int8_products(dense, bags)
        pooled = [self._pooled(table, bag) for table, bag in enumerate(bags)]
        vectors = [_rounded(vector, dtype) for vector in (dense, *pooled)]
        if kind == "dot":
            products = [vectors[i] @ vectors[j] for i, j in self._pairs()]
            return np.concatenate([vectors[0], _rounded(np.array(products, F32), dtype)])
        x = first = np.concatenate(vectors)
        for layer in range(self.architecture.get("cross_layers", 0)):
            x = first * self._linear(f"cross_net.{layer}.w", self._linear(f"cross_net.{layer}.v", x)) + x
        return x

    def _int8_products(self, dense: Array, bags: Sequence[Sequence[int]]) -> Array:
        vectors = [_int8_vector(dense)]
        for table, bag in enumerate(bags):
            single = len(bag) == 1 and self.ops[f"tables.{table}"]["dtype"] in ("int8", "int4")
            vectors.append(self._row(table, bag[0]) if single else _int8_vector(self._pooled(table, bag)))
        first = self.ops["top_mlp.0"]
        as_bytes = first["dtype"] == "int8"
        inverse = F32(1 / first["input_scale"]) if as_bytes else F32(1)
        products = []
        for i, j in self._pairs():
            p = F32(int(vectors[i][0].astype(np.int64) @ vectors[j][0].astype(np.int64)))
            products.append(p * vectors[j][1] * (vectors[i][1] * inverse))
        if not as_bytes:
            return np.concatenate([dense, np.array(products, F32)])
        zero = first["input_zero_point"]
        rounded = np.rint(np.clip(np.array(products, F32) + F32(zero), F32(0), F32(255))).astype(np.uint8)
        return np.concatenate([_bytes(dense, first["input_scale"], zero), rounded])

    def _pairs(self) -> list[tuple[int, int]]:
        itself = self.architecture["self_interaction"]
        return [(i, j) for i in range(len(self.tables) + 1) for j in range(i + 1 if itself else i)]

    def _pooled(self, table: int, bag: Sequence[int]) -> Array:
        """Return the sum or the mean of the rows of a bag."""
        total = np.zeros(self.architecture["embedding_dim"], F32)
        for row in bag:
            values, scale = self._row(table, row)
            total = total + values.astype(F32) * scale
        is_mean = self.architecture.get("pooling", ["sum"] * len(self.tables))[table] == "mean"
        return total / F32(max(1, len(bag))) if is_mean else total

    def _row(self, table: int, row: int) -> tuple[Array, np.float32]:
        """Return the values of a packed row, and the size of one step."""
        packed, size = self.tables[table][row], self.architecture["embedding_dim"]
        dtype = self.ops[f"tables.{table}"]["dtype"]
        if dtype == "int8":
            return packed[:size].view(np.int8), packed[size:].view("<f4")[0]
        if dtype == "int4":
            half = -(-size // 2)
            numbers = np.concatenate([packed[:half] & 15, packed[:half] >> 4])[:size].astype(np.int8)
            scale = floats_of_bfloat16(packed[half : half + 2].view("<u2"))[0]
            return numbers - packed[half + 2].astype(np.int8), scale
        return packed, F32(1)


def _bytes(x: Array, scale: float, zero: int) -> Array:
    return np.rint(np.clip(x * F32(1 / scale) + F32(zero), F32(0), F32(255))).astype(np.uint8)


def _int8_vector(x: Array) -> tuple[Array, np.float32]:
    largest = F32(np.abs(x).max())
    if largest <= F32(1e-30):
        return np.zeros(len(x), np.int8), F32(0)
    return np.rint(x * (F32(127) / largest)).astype(np.int8), largest / F32(127)


def _rounded(x: Array, dtype: str) -> Array:
    """Round values to bfloat16, to nearest, half to even; those of fp32 stay as they are."""
    if dtype != "bf16":
        return x
    bits = np.ascontiguousarray(x, F32).view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    return floats_of_bfloat16(upper.astype(np.uint16))


def digest_of_weights(folder: Path, manifest: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> str:
    """Return the checksum of the float weights, computed from their digests."""
    digests, _ = read(folder / "digests.safetensors")
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(hashlib.sha256(f"{name} {list(shapes[name])}".encode() + digests[name].tobytes()).digest())
    return f"blake3:{whole.hexdigest()}"
