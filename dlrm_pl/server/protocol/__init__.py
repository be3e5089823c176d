"""Open Inference Protocol: requests and responses on the wire, with and without binary tensors.

This package is independent of models and HTTP servers: it converts bytes to named arrays, and arrays to bytes.
"""
