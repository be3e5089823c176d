"""Turn the result of a search into the files of an artifact."""
