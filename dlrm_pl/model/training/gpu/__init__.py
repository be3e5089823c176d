"""Training on a GPU: one storage of tables, rows updated in the backward pass, and a CUDA graph of the dense part."""
