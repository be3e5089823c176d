"""Stages of ``preprocess``: read and parse, number the categories, scatter into buckets, merge, report."""
