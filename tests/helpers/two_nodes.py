"""A Ray cluster of two nodes on this machine, in a process of its own that ends both.

Prints its address and the process id of the second node as JSON; with each line on stdin a new
second node, and another line. Ends with its stdin. Its argument is JSON of more options per node.
"""

import json
import logging
import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 200_000_000}


def main() -> None:
    """Runs the cluster."""
    options = NODE | json.loads(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args=options | {"include_dashboard": False})
    try:
        while True:
            node = cluster.add_node(**options)
            (raylet,) = node.all_processes["raylet"]
            print(json.dumps([cluster.address, raylet.process.pid]), flush=True)
            if not sys.stdin.readline():
                break
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    main()
