"""The command line from a checkout: `python cli.py --help`."""

import sys

try:
    from dlrm_pl.cli.entry import program
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(program())
