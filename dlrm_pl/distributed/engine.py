"""TorchRec and FBGEMM, which shard tables: whether they are there, and of versions that fit torch."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import PackageNotFoundError, version

from dlrm_pl.errors import ConfigurationError

PAIRS = {"2.13": "1.8", "2.14": "1.9"}
"""Versions of TorchRec, and of FBGEMM, by the version of torch whose symbols FBGEMM's library was linked with."""

_INSTALL = "Run `make sharded`, or `pip install --no-deps -r requirements/torchrec.txt`"


def require_engine() -> None:
    """Import TorchRec and FBGEMM.

    Raises:
        ConfigurationError: one of them is missing, does not fit torch, or cannot be imported.
    """
    torch = ".".join(version("torch").split(".")[:2])
    fitting = PAIRS.get(torch)
    if fitting is None:
        raise ConfigurationError(
            f"Sharded tables need TorchRec, of which no version for torch {torch} is known: {_known()}."
        )
    for name, found in (("torchrec", _version("torchrec")), ("FBGEMM", _version("fbgemm-gpu-cpu", "fbgemm-gpu"))):
        if not found:
            raise ConfigurationError(f"Sharded tables need {name}, which is not installed. {_INSTALL}.")
        if not found.startswith(f"{fitting}."):
            raise ConfigurationError(
                f"Sharded tables with torch {torch} need {name} {fitting}, but {found} is installed. {_INSTALL}."
            )
    # A remark of torch about its own function, once for each process, which no user can act on.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import fbgemm_gpu  # noqa: F401
            import torchrec  # noqa: F401
    except (ImportError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"TorchRec cannot be imported: {reason}. {_INSTALL}.") from error


def _version(*names: str) -> str:
    """Return the version of the first of these packages that is installed; "" where none is."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _known() -> str:
    return "; ".join(f"torch {torch} takes torchrec {pair}" for torch, pair in PAIRS.items())
