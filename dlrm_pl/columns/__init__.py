"""Columns of a click log: names, types and how values become numbers; everything else follows from them."""
