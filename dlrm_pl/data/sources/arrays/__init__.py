"""Convert Arrow arrays to the arrays of ``RawRows``, and find values that do not fit their column."""
