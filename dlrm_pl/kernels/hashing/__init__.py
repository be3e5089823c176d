"""Digests of blocks of rows, by which the rows that a training has changed are found."""
