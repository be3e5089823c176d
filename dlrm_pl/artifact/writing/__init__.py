"""From a search to the files of an artifact."""
