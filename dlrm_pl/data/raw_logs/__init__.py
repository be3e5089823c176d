"""Raw click logs: text files, plain or gzip-compressed, one row per line."""
