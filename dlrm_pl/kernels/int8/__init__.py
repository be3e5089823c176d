"""The int8 kernels: C++ for each kind of processor, a fallback in plain torch, and the torch ops in front of both."""
