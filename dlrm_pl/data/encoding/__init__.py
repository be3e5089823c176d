"""From rows of values, by a vocabulary, to what a model reads."""
