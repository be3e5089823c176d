"""Raw click logs: text files, plain or gzip-compressed, one row a line."""
