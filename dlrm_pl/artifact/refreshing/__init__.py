"""A new artifact from an earlier one: only rows that training has changed are packed, and written as patches."""
