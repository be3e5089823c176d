"""Show what a paired test gains: how far two AUROCs scatter, how far their difference does, and how looks decide.

Draws samples of rows of one known pair of models: AUROC 0.81, a copy with a drop of 0.0008, 3.3 % clicks. Then judges
three copies with other drops by growing blocks of rows, as a search does.

    python benchmarks/paired_test.py

Prints a JSON object as its last line. Takes half a minute on one core.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from machine import machine
from simulation import BinormalPair

from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.metrics.sequential import alpha_spent, look_at, next_look

AUROC, LABEL_RATE, TOLERANCE, CONFIDENCE = 0.81, 0.033, 0.0008, 0.95
FIRST_BLOCK, MOST_ROWS = 16_384, 262_144


def scatter(samples: int, rows: int, seed: int) -> dict[str, Any]:
    """Draw samples of rows; return the standard deviations over them, and the first dozen samples."""
    rng, pair = np.random.default_rng(seed), BinormalPair(AUROC, TOLERANCE, LABEL_RATE)
    found = []
    for _ in range(samples):
        first, second, labels = pair.draw(rng, rows)
        difference = paired_auroc_difference(first, second, labels)
        found.append((difference.first, difference.second))
    values = np.array(found)
    drops = values[:, 0] - values[:, 1]
    return {
        "rows": rows,
        "samples": samples,
        "standard_deviation_of_auroc": float(values[:, 0].std(ddof=1)),
        "standard_deviation_of_difference": float(drops.std(ddof=1)),
        "correlation": float(np.corrcoef(values.T)[0, 1]),
        "first_samples": values[:12].tolist(),
    }


def looks(drop: float, seed: int) -> list[dict[str, Any]]:
    """Judge one copy of the model look by look, up to the rows that there are."""
    rng, pair = np.random.default_rng(seed), BinormalPair(AUROC, drop, LABEL_RATE)
    first, second, labels = pair.draw(rng, MOST_ROWS)
    rows, found = 0, []
    while not found or (found[-1]["decision"] == "open" and rows < MOST_ROWS):
        rows = next_look(rows, FIRST_BLOCK)
        last, number = rows >= MOST_ROWS, len(found) + 1
        difference = paired_auroc_difference(first[:rows], second[:rows], labels[:rows], click_logits=first[:rows])
        look = look_at(difference, number=number, tolerance=TOLERANCE, confidence=CONFIDENCE, last=last, rows=rows)
        alpha = alpha_spent(number, confidence=CONFIDENCE, last=last)
        found.append(
            {"rows": rows, "estimate": look.estimate, "low": look.low, "high": look.high}
            | {"alpha": alpha, "decision": look.decision}
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=400, help="samples of rows")
    parser.add_argument("--seed", type=int, default=1, help="seed of the drawn rows")
    options = parser.parse_args()
    result = {
        "machine": machine(),
        "tolerance": TOLERANCE,
        "confidence": CONFIDENCE,
        "scatter": scatter(options.samples, FIRST_BLOCK, options.seed),
        "looks": {str(drop): looks(drop, options.seed) for drop in (0.0001, 0.0008, 0.0024)},
    }
    for name, value in result["scatter"].items():
        print(f"{name}: {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
