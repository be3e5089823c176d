"""Input of preprocessing: raw logs and files with named columns, found, divided into days, and read."""
