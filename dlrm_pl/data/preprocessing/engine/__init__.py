"""Parsing and numbering functions of preprocessing: native, and as a NumPy fallback."""
