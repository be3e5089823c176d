"""Make a new artifact from an earlier one: only rows changed by training are packed, and written as patches."""
