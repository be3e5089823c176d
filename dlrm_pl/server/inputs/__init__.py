"""Convert the tensors of a request to a model batch, like the one that ``predict`` makes from the same rows."""
