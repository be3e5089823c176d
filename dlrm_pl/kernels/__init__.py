"""Native code: small, without Python or torch headers, optional; each function has a fallback in Python."""
