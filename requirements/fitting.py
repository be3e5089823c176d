"""Print requirements/torchrec.txt with the versions for the torch that is installed; `make sharded` installs them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

from dlrm_pl.distributed.engine import fitting_pair
from dlrm_pl.errors import ConfigurationError

if __name__ == "__main__":
    try:
        pair = fitting_pair(torch.__version__)
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
    fbgemm = "fbgemm-gpu-cpu" if torch.version.cuda is None else "fbgemm-gpu"
    text = Path(__file__).with_name("torchrec.txt").read_text()
    text = re.sub(r"^torchrec==.*$", f"torchrec=={pair.torchrec}", text, flags=re.MULTILINE)
    print(re.sub(r"^fbgemm-gpu-cpu==.*$", f"{fbgemm}=={pair.fbgemm}", text, flags=re.MULTILINE), end="")
