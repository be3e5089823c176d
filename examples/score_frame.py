"""Add click probabilities to a file of rows, using only an artifact that contains its vocabulary.

    dlrm-pl quantize ... --output artifacts/shop --with_vocabulary
    python examples/score_frame.py --artifact artifacts/shop --rows today.parquet --output scored.parquet

The rows have the columns that the model was trained on (docs/columns.md), with or without labels. A pandas or polars
frame works in place of the Arrow table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

import dlrm_pl


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the rows of a Parquet file.")
    parser.add_argument("--artifact", type=Path, required=True, help="artifact, made with --with_vocabulary")
    parser.add_argument("--rows", type=Path, required=True, help="Parquet file of raw values")
    parser.add_argument("--output", type=Path, required=True, help="Parquet file to write, with one more column")
    options = parser.parse_args()

    artifact = dlrm_pl.load_artifact(options.artifact)
    predictor = dlrm_pl.Predictor(artifact)
    scored = []
    for batch in pyarrow.parquet.ParquetFile(options.rows).iter_batches(batch_size=16_384):
        rows = pa.Table.from_batches([batch])
        clicks = dlrm_pl.ClickBatch.from_frame(rows, artifact)
        scored.append(rows.append_column("probability", pa.array(predictor.predict(clicks))))
    pyarrow.parquet.write_table(pa.concat_tables(scored), options.output)
    print(f"{sum(len(rows) for rows in scored):,} rows: {options.output}")


if __name__ == "__main__":
    main()
