"""What a dataset holds, in numbers for figures: counts of `preprocess`, and a sample of rows. Needs NumPy alone."""
