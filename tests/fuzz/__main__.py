"""Call native code with random arguments and compare it with its fallbacks, for a given time.

make fuzz SECONDS=600                       # under the sanitizers, with a new seed
make fuzz SECONDS=60 SEED=7                 # the same calls again
python -m tests.fuzz --seed 7 --round 1234    # one of them, without the sanitizers
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import struct
import sys
import time
from collections import Counter


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--seed", type=int, default=random.randrange(2**31), help="seed of all rounds (default: a new one)"
    )
    parser.add_argument("--round", type=int, help="run only this round")
    options = parser.parse_args()
    # The number of the current round, shared with the parent, which survives when a sanitizer kills the child.
    place = mmap.mmap(-1, 8)
    child = os.fork()
    if not child:
        return fuzz(options.seconds, options.seed, options.round, place)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        number = struct.unpack("q", place)[0]
        print(f"fuzz: FAILED in round {number}; to repeat it: --seed {options.seed} --round {number}", file=sys.stderr)
    return abs(status)


def fuzz(seconds: float, seed: int, only: int | None, place: mmap.mmap) -> int:
    """Run rounds until the time is up; each depends only on the seed and its number."""
    import numpy as np
    import torch

    from tests.fuzz import decoding, int8, lookup, preprocessing, training

    torch.set_num_threads(1)
    targets = int8.TARGETS + preprocessing.TARGETS + lookup.TARGETS + decoding.TARGETS + training.TARGETS
    print(f"fuzz: {int8.library_path()}, {', '.join(int8.available())}, seed {seed}", flush=True)
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    number = only or 0
    while time.monotonic() < until:
        place[:] = struct.pack("q", number)
        rng = np.random.default_rng([seed, number])
        target = targets[int(rng.integers(len(targets)))]
        target(rng)
        done[target.__name__] += 1
        if only is not None:
            break
        number += 1
    print(f"fuzz: {sum(done.values()):,} rounds without a fault: {dict(done)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
