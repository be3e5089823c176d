"""TorchRec and FBGEMM, which shard tables: check that they are installed in versions that fit torch."""

from __future__ import annotations

import logging
import warnings
from typing import NamedTuple

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.extras import FBGEMM, installed_version, minor


class Pair(NamedTuple):
    """Versions of TorchRec and FBGEMM that fit each other, as do later ones with the same first two numbers."""

    torchrec: str
    fbgemm: str


PAIRS = {torch: Pair(torchrec, FBGEMM[torch]) for torch, torchrec in (("2.13", "1.8.0"), ("2.14", "1.9.2"))}
"""Version pairs by the version of torch that FBGEMM's library was linked with."""

_INSTALL = "Run `make sharded`, or `pip install --no-deps -r requirements/torchrec.txt`"


def require_engine() -> None:
    """Import TorchRec and FBGEMM.

    Raises:
        ConfigurationError: one of them is missing, does not fit torch, or cannot be imported.
    """
    torch = installed_version("torch")
    pair = fitting_pair(torch)
    for name, fitting, found in (
        ("torchrec", pair.torchrec, installed_version("torchrec")),
        ("FBGEMM", pair.fbgemm, installed_version("fbgemm-gpu-cpu", "fbgemm-gpu")),
    ):
        if not found:
            raise ConfigurationError(f"Sharded tables need {name}, which is not installed. {_INSTALL}.")
        if minor(found) != minor(fitting):
            raise ConfigurationError(
                f"Sharded tables with torch {minor(torch)} need {name} {minor(fitting)}, but {found} is installed. "
                f"{_INSTALL}."
            )
    # torch's warnings about its own functions, and about how the engine uses them. Users cannot act on them, and tests
    # show that tables which are copied to all processes are trained correctly.
    for name in ("torch.fx._symbolic_trace", "torchrec.distributed.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="fbgemm::dense_embedding_codegen_lookup_function: an autograd kernel")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import fbgemm_gpu  # noqa: F401
            import torchrec  # noqa: F401
    except (ImportError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"TorchRec cannot be imported: {reason}. {_INSTALL}.") from error


def fitting_pair(torch: str) -> Pair:
    """Return the versions of TorchRec and FBGEMM that fit a version of torch.

    Raises:
        ConfigurationError: none is known.
    """
    pair = PAIRS.get(minor(torch))
    if pair is None:
        raise ConfigurationError(
            f"Sharded tables need TorchRec, but no version of it is known for torch {minor(torch)}: {_known()}."
        )
    return pair


def _known() -> str:
    return "; ".join(f"torch {torch} needs torchrec {minor(pair.torchrec)}" for torch, pair in PAIRS.items())
