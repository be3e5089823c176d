"""Counts by day, made while the rows are read, and the data report based on them."""
