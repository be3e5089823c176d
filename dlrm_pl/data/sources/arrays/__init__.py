"""Arrow's arrays become the arrays of ``RawRows``, and values that do not fit their column are found."""
