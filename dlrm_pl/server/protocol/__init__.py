"""Open Inference Protocol: requests and responses on the wire, with and without binary tensors.

It knows nothing of models or HTTP servers: bytes become named arrays, and arrays become bytes.
"""
