"""Whether an artifact, its certificate and its data are still what they were."""
