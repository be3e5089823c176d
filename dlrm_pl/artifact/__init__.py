"""The artifact folder: weights, manifest, certificate, trials."""
