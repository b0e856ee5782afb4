"""A cluster of Ray on this machine, to be joined by the programs under test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster()
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
print("address", cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def two_nodes() -> Iterator[str]:
    """Start two nodes of one processor each; give the address."""
    cluster = subprocess.Popen([sys.executable, "-c", _CLUSTER], stdin=-1, stdout=-1, stderr=-3, text=True)
    try:
        assert cluster.stdout is not None
        yield next(line.split()[1] for line in cluster.stdout if line.startswith("address"))
    finally:
        cluster.communicate("", timeout=60)
