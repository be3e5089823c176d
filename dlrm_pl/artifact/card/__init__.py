"""The model card of an artifact: a page in Markdown, in the format of the Hugging Face Hub."""
