"""What is written after a command's name: files, names, values, and why one is refused."""
