"""Translate a command line of upstream's script into YAML and commands."""
