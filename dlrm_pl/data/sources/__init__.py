"""CSV, Parquet and Arrow files, and frames: all become ``RawRows``, with pyarrow."""
