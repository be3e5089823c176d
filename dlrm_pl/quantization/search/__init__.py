"""Search for the best recipe whose model stays within the tolerance."""
