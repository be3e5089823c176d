"""Training curves in bounded memory: what is recorded, how it is kept in a checkpoint, and how it is drawn."""
