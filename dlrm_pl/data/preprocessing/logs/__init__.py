"""What is preprocessed: raw logs and files with named columns, found, cut into days and read."""
