"""Search for the best recipe within the tolerance."""
