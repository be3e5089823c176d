"""GPU training: all tables in one storage, rows updated in the backward pass, and the dense part as a CUDA graph."""
