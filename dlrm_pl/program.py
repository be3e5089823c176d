"""What this program is called, and what its exit status says."""

from __future__ import annotations

import sys
from pathlib import Path

EXIT_WRONG_INPUT = 2
EXIT_NOT_ACCEPTED = 3
EXIT_UNDECIDED = 4
EXIT_INTERRUPTED = 130

_CHECKOUT = Path(__file__).parents[1] / "cli.py"


def program_name() -> str:
    """As it was started; for other programs that use the package, as it can be started where the package lies."""
    started = Path(sys.argv[0]).name
    if started == "dlrm-pl" or (started != "cli.py" and not _CHECKOUT.is_file()):
        return "dlrm-pl"
    return "python cli.py"
