"""The command line from a checkout: `python cli.py --help`."""

import sys

from dlrm_pl.cli import main

if __name__ == "__main__":
    sys.exit(main())
