"""Model card of an artifact: a Markdown page in the format of the Hugging Face Hub."""
