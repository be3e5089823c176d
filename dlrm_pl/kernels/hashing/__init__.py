"""Digests of blocks of rows, by which the rows that training has changed are found."""
