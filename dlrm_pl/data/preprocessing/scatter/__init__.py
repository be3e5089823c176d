"""From rows to records in buckets, the first stage of a run."""
