"""Make batches of records in C++: values checked, transformed and put in a model's order in one pass."""
