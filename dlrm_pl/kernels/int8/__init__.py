"""The int8 kernels: C++ for each kind of processor, their twin in plain torch, and the torch ops in front of both."""
