"""Table files: found, recognised, unpacked, and read as batches of Arrow arrays."""
