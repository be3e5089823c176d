"""From the tensors of a request to a batch of the model, as ``predict`` makes it of the same rows."""
