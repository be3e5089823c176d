"""Artifacts on the Hugging Face Hub: uploads with a model card, downloads with checksums."""
