"""The int8 model that is served: plain tensors, no torch.ao."""
