"""The Open Inference Protocol: what requests and responses look like on the wire, with and without binary tensors.

It knows nothing of models or HTTP servers: bytes become named arrays, and arrays become bytes.
"""
