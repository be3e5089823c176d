"""The command line: commands, their options, their configuration files and their error messages."""
