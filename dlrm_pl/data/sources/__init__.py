"""Read CSV, Parquet and Arrow files, and frames, as ``RawRows``, with pyarrow."""
