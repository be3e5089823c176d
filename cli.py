"""The command line from a checkout: `python cli.py --help`."""

import sys

from dlrm_pl.cli import program

if __name__ == "__main__":
    sys.exit(program())
