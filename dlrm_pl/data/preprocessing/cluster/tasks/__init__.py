"""Tasks of a run on a cluster, each on one machine: plain functions that know nothing of the cluster."""
