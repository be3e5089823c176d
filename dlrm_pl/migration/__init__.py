"""Read configurations and command lines of the programs that this package replaces."""
