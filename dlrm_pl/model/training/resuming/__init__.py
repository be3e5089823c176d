"""What a training that goes on from a checkpoint is compared with, and what it takes from it."""
