"""First stage of a run: from rows to records in buckets."""
