"""Make batches from records in C++: values are checked, transformed and put in a model's order in one pass."""
