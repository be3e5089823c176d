"""Counts by day while the rows are read, and the data report that they give."""
