"""Click probabilities from an artifact."""
