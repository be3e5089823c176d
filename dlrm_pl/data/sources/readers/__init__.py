"""Files of tables: found, recognised, unpacked, and read as batches of Arrow's arrays."""
