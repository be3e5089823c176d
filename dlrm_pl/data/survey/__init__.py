"""Contents of a dataset in numbers, for figures: counts from `preprocess`, and a sample of rows. Needs only NumPy."""
