"""Pages that list all error messages, read from the sources, with what each asks the user to do."""
