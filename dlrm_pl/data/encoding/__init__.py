"""Encode rows of raw values, with a vocabulary, for a model."""
