"""From a trained module and its data to a certified int8 artifact, with or without a Trainer."""
