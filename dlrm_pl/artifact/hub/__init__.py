"""Artifacts on the Hugging Face Hub: upload with a model card, download with checksums."""
