"""Command-line arguments: files, names, values, and the reasons for refusing them."""
