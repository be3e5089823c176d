"""Int8 kernels: C++ for each kind of processor, a fallback in plain torch, and the torch ops that call either."""
