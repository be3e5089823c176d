"""Native kernels: small C++ files without Python or torch headers, optional, each with a fallback in Python."""
