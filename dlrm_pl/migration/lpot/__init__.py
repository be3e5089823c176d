"""LPOT's conf.yaml, read as it is."""
