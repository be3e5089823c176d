"""A command line of the reference script -> a YAML and commands of this project that do the same."""
