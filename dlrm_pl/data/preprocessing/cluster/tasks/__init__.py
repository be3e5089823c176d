"""What the tasks of a run on a cluster do, each on one machine: plain functions that know nothing of the cluster."""
