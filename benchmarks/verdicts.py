"""Simulate how often a search certifies a recipe although all of its recipes lose too much AUROC.

Every recipe of a search truly loses more than the tolerance, so that `accepted` is always wrong. Each is judged on the
tuning rows in growing blocks, as in a search. The first that is accepted, or else the one with the smallest drop, is
certified on other rows: by its one-sided bound, and for comparison by its estimate.

    python benchmarks/verdicts.py

Prints a JSON object as its last line. Takes a few minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import numpy as np
from simulation import BinormalPair, coverage, sequential_auroc_test

from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.quantization.judging.certified_bound import bound_of_auroc

TOLERANCE, CONFIDENCE = 0.004, 0.95
CASES = {
    "normal noise, 540 clicks": (BinormalPair(0.81, 0.0008, 0.033), 16_384, 0.0),
    "3 of 1,000 rows far off": (BinormalPair(0.81, 0.0008, 0.033, 0.003, 1000), 8192, 0.0),
    "0.3 of 1,000 rows far off": (BinormalPair(0.81, 0.00008, 0.033, 0.0003, 100_000), 16_384, 0.0),
    "ties": (BinormalPair(0.81, 0.0008, 0.033), 16_384, 0.05),
    "0.1 % clicks, 30 of them": (BinormalPair(0.81, 0.0008, 0.001), 30_000, 0.0),
    "30 clicks": (BinormalPair(0.8, 0.002, 0.03), 1000, 0.0),
    "10 clicks": (BinormalPair(0.8, 0.002, 0.01), 1000, 0.0),
    "a drop of 1e-7": (BinormalPair(0.81, 1e-7, 0.033), 4000, 0.0),
}
"""Models, rows of a sample, and the step that logits are rounded to."""


def search(
    pair: BinormalPair, rng: np.random.Generator, *, recipes: int, tuning_rows: int, test_rows: int
) -> dict[str, bool]:
    """Simulate a search; returns whether it ended accepted, by each rule."""
    first, _, labels = pair.draw(rng, tuning_rows)
    accepted, best = False, float("inf")
    for _ in range(recipes):
        look = sequential_auroc_test(
            *(first, pair.copy(rng, first), labels), tolerance=TOLERANCE, confidence=CONFIDENCE, first_block=1000
        )
        accepted = look.decision == "within"
        best = min(best, look.low)
        if accepted:
            break
    if not accepted and best > TOLERANCE:
        return {"bound": False, "estimate": False}  # Every recipe was refused.
    first, second, labels = pair.draw(rng, test_rows)
    found = paired_auroc_difference(first, second, labels, click_logits=first)
    bound, _ = bound_of_auroc(found, CONFIDENCE)
    return {
        "bound": bound.within(TOLERANCE, "bound") is True,
        "estimate": accepted and bound.within(TOLERANCE, "estimate") is True,
    }


def error_rates(
    *, factor: float, searches: int, seed: int, recipes: int = 40, tuning_rows: int = 4000, test_rows: int = 8000
) -> dict[str, float]:
    """Return the share of searches that ended accepted, always wrongly, by each rule."""
    rng: np.random.Generator = np.random.default_rng(seed)
    pair = BinormalPair(auroc=0.8, drop=factor * TOLERANCE, label_rate=0.2)
    ends = [search(pair, rng, recipes=recipes, tuning_rows=tuning_rows, test_rows=test_rows) for _ in range(searches)]
    return {rule: sum(end[rule] for end in ends) / searches for rule in ("bound", "estimate")}


def main() -> None:
    """Run the simulations and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--samples", type=int, default=400, help="samples of each case of the coverage")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result: dict[str, object] = {"searches": options.searches, "samples": options.samples}
    print("share of searches that wrongly accept, among 40 recipes whose drop is this multiple of the tolerance:")
    for factor in (1.0, 1.2):
        # Just above the tolerance, so that 'accepted' is wrong.
        found = error_rates(factor=factor * 1.0001, searches=options.searches, seed=options.seed)
        result[f"accepted at {factor}"] = found
        print(f"  {factor}: by the bound {found['bound']:.1%}, by the estimate {found['estimate']:.1%}", flush=True)
    print("coverage of the 95 % interval and of the one-sided 95 % bounds:")
    for name, (pair, rows, step) in CASES.items():
        held = coverage(pair, rows=rows, samples=options.samples, seed=options.seed, step=step)
        result[name] = asdict(held)
        print(f"  {name:<28} {held.two_sided:.1%}, upper {held.upper:.1%}, lower {held.lower:.1%}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
