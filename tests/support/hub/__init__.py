"""A small Hugging Face Hub on this machine, for tests of uploads and downloads."""
