"""Measure rows a second and peak memory of ``synthesize`` in both formats, each run in a process of its own.

python benchmarks/synthesize.py --rows 500000 1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

# A process's peak memory covers its whole life, so each measurement gets a fresh process.
_CHILD = """
import json, resource, sys
from pathlib import Path
from dlrm_pl.data.synthetic.synthesize import synthesize
report = synthesize(Path(sys.argv[1]), rows=int(sys.argv[2]), format=sys.argv[3])
print(json.dumps({
    "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "best_possible_auroc": report.best_possible_auroc,
    "table_rows": report.table_rows,
    "torch_imported": "torch" in sys.modules,
}))
"""


def measure(rows: int, output_format: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "clicks"
        start = time.perf_counter()
        command = [sys.executable, "-c", _CHILD, str(output), str(rows), output_format]
        child = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1]
        )
        wall_s = time.perf_counter() - start
        size_bytes = sum(path.stat().st_size for path in output.iterdir())
    result = {"format": output_format, "rows": rows, "wall_s": round(wall_s, 2), "rows_per_s": round(rows / wall_s)}
    return result | {"output_mib": round(size_bytes / 2**20, 1)} | json.loads(child.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 1_000_000])
    options = parser.parse_args()
    results = []
    for output_format in ("dataset", "raw"):
        for rows in options.rows:
            result = measure(rows, output_format)
            results.append(result)
            print(
                f"{output_format:<8}{rows:>12,} rows  {result['wall_s']} s with the start of the process, "
                f"{result['rows_per_s']:,} rows/s, peak {result['peak_rss_mib']:.0f} MiB",
                flush=True,
            )
    print(json.dumps({"results": results, "machine": machine()}))


if __name__ == "__main__":
    main()
