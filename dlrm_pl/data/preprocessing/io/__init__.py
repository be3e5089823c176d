"""Large sequential files of a preprocessing run: buckets and splits."""
