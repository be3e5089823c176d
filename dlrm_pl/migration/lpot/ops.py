"""Translate ``quantization.model_wise`` and ``op_wise`` of a conf.yaml into a search space."""

from __future__ import annotations

import difflib
import re
from typing import Any

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.migration.lpot.section import Section
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.parameter_names import upstream_ops

_DTYPES: dict[str, str | None] = dict.fromkeys(("int8", "uint8", "fp32", "bf16"))
_OURS = {"int8": "int8", "uint8": "int8", "fp32": "fp32", "bf16": "bf16"}
_ORDER = ("int8", "bf16", "fp32")

_PER_TENSOR_ONLY: dict[str, str | None] = {
    "per_tensor": None,
    "per_channel": "activations have one range for the whole tensor; write per_tensor.",
}
_GRANULARITIES: dict[str, str | None] = dict.fromkeys(("per_channel", "per_tensor"))
_WEIGHT_SCHEMES: dict[str, str | None] = {
    "sym": None,
    "asym": "weights are always symmetric, as the integer kernels require; write sym.",
    "asym_float": None,
}
_SCHEMES: dict[str, str | None] = dict.fromkeys(("asym", "sym"))
_WEIGHT_ALGORITHMS: dict[str, str | None] = {
    "minmax": None,
    "kl": "only activations have it, as in LPOT; write minmax.",
}
_ALGORITHMS: dict[str, str | None] = dict.fromkeys(("minmax", "kl"))
_KEYS = ("granularity", "scheme", "dtype", "algorithm")
_BIT = {"bit": "the kernels use all 8 bits without overflow, so ranges are not reduced"}


def read_model_wise(section: Section) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the section ``model_wise``, which applies to all ops.

    Returns:
        Values for fields of ``SpaceSettings``, and the first choices as values for fields of ``RecipeStart``.

    Raises:
        ConfigurationError: a value is unknown, or dtypes exclude each other.
    """
    section.check(("weight", "activation"))
    weight, activation = section.section("weight"), section.section("activation")
    for part in (weight, activation):
        part.check(_KEYS, ignored=_BIT)
    space: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    if granularities := weight.choices("granularity", _GRANULARITIES):
        space["weight_granularities"] = tuple(granularities)
        recipe["weight_granularity"] = granularities[0]
    weight.choices("scheme", _WEIGHT_SCHEMES)
    weight.choices("algorithm", _WEIGHT_ALGORITHMS)
    activation.choices("granularity", _PER_TENSOR_ONLY)
    if schemes := activation.choices("scheme", _SCHEMES):
        translated = [{"asym": "affine", "sym": "symmetric"}[scheme] for scheme in schemes]
        space["activation_schemes"] = tuple(translated)
        recipe["activation_scheme"] = translated[0]
    if algorithms := activation.choices("algorithm", _ALGORITHMS):
        space["observers"] = tuple(algorithms)
        recipe["observer"] = algorithms[0]
    if linears := _linear_dtypes(section):
        space["linears"] = space["interaction"] = tuple(linears)
        recipe["linears"] = linears[0]
        recipe["interaction"] = None if linears[0] == "int8" else linears[0]
    if tables := _table_dtypes(weight):
        space["tables"] = tuple(tables)
        recipe["tables"] = tables[0]
    return space, recipe


def read_op_wise(section: Section, architecture: Architecture) -> dict[str, list[str]]:
    """Read the section ``op_wise``: dtypes of single ops, by their names in LPOT or by regular expressions.

    Names are those of the float model (``bot_l.0``, ``bot_l.2``). If none matches, the names of the model with a
    QuantStub before each MLP (``bot_l.1``, ``bot_l.3``) are tried.

    Returns:
        Dtypes by the name of the op in this package, for ``SpaceSettings.ops``.

    Raises:
        ConfigurationError: no op matches; the message names the closest one.
    """
    dtypes_by_op: dict[str, list[str]] = {}
    for pattern, op_section in section.sections():
        op_section.check(("weight", "activation"))
        for name in ("weight", "activation"):
            part = op_section.section(name)
            one_for_all = "it applies to all ops here; set it in quantization.model_wise"
            part.check(("dtype",), ignored={key: one_for_all for key in _KEYS if key != "dtype"} | _BIT)
        for op in _ops_of(pattern, section, architecture):
            table = op.startswith("tables.")
            dtypes = _table_dtypes(op_section.section("weight")) if table else _linear_dtypes(op_section)
            if dtypes:
                dtypes_by_op[op] = dtypes
                section.note(pattern, f"this op is called {op} here, and can be {', '.join(dtypes)}")
    return dtypes_by_op


def _linear_dtypes(section: Section) -> list[str]:
    """Read the dtypes that weight and activation have in common; if one gives none, those of the other."""
    sides = [
        {_OURS[dtype] for dtype in section.section(name).choices("dtype", _DTYPES)} for name in ("weight", "activation")
    ]
    given = [side for side in sides if side]
    if not given:
        return []
    both = set.intersection(*given)
    if not both:
        raise ConfigurationError(
            f"{section.file}: {section.path}: weights can be {', '.join(sorted(sides[0]))} and activations "
            f"{', '.join(sorted(sides[1]))}, which have no dtype in common. A Linear has a single dtype here."
        )
    return [dtype for dtype in _ORDER if dtype in both]


def _table_dtypes(weight: Section) -> list[str]:
    """Read the dtypes of tables, for which only weights matter; bf16 becomes fp16, which is more precise."""
    wanted = {_OURS[dtype] for dtype in weight.choices("dtype", _DTYPES)}
    return [{"bf16": "fp16"}.get(dtype, dtype) for dtype in _ORDER if dtype in wanted]


def _ops_of(pattern: str, section: Section, architecture: Architecture) -> list[str]:
    """Find the ops that a name or a regular expression matches."""
    plain, stubbed = upstream_ops(architecture), upstream_ops(architecture, stubbed=True)
    for names in (plain, stubbed):
        if pattern in names:
            return [names[pattern]]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"{section.at(pattern)}: neither an op nor a regular expression ({error}).") from error
    for names in (plain, stubbed):
        if matched := [op for name, op in names.items() if compiled.fullmatch(name)]:
            return matched
    close = difflib.get_close_matches(pattern, plain, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(f"{section.at(pattern)}: matches no op.{hint} The ops are {', '.join(plain)}.")
