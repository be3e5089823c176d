"""The vocabulary of a run: tables that number the values of categorical columns while the rows pass."""
