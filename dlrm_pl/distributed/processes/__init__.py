"""Make sure that the processes of a training run all start, agree, and stop together."""
