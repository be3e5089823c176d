"""Certificate of an artifact: contents, verdict and re-verification."""
