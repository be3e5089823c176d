"""Pages of all error messages, read from the sources: what each says, and what it asks for."""
