"""Processes of a Ray cluster on this machine only, without those that this program does not need."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any


def start_node(started: ExitStack, store_bytes: int) -> str:
    """Start a cluster on this machine.

    ``ray.init`` would also start a dashboard, an autoscaler and a log monitor. It waits for the dashboard, and the
    others take processor time from the tasks. They would make up half of the time from the start to the first task, and
    half of the time to the end.

    Args:
        started: exit stack that ends the processes; they also end with this process in any case.
        store_bytes: size of the object store.

    Returns:
        The address of the cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray has no public way to choose the processes; ``ray.cluster_utils`` does it this way too.
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    class LeanNode(Node):
        """A node without the dashboard's server."""

        def start_api_server(self, **options: Any) -> None:
            """Do nothing."""

    resources: dict[str, Any] = {"num_cpus": len(os.sched_getaffinity(0)), "num_gpus": 0}
    without: dict[str, Any] = {"include_log_monitor": False, "no_monitor": True}
    parameters = RayParams(object_store_memory=store_bytes, **resources, **without)
    node = LeanNode(parameters, head=True, shutdown_at_exit=False, spawn_reaper=True)
    started.callback(node.kill_all_processes, check_alive=False, allow_graceful=True, wait=True)
    return str(node.gcs_address)
