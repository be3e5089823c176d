"""The processes of a training: that they all come up, agree, and stop together."""
