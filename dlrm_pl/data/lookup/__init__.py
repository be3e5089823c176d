"""Tables that number distinct values, and hashes of values, in C++ with fallbacks in NumPy."""
