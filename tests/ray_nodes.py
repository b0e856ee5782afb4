"""A Ray cluster of several local nodes, each with one processor, in a process of its own.

python tests/ray_nodes.py 2    # prints its address, and ends when its input does
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_STORE_BYTES = 100 << 20
_PATIENCE_SECONDS = 60


class Nodes(NamedTuple):
    """A cluster that runs: where it answers, and the process that all of its processes come from."""

    address: str
    pid: int


@contextmanager
def nodes(n: int) -> Iterator[Nodes]:
    """Run so many nodes; their processes end with the block."""
    command = [sys.executable, __file__, str(n)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout is not None
            address = next(line.split()[1] for line in program.stdout if line.startswith("address "))
            yield Nodes(address, program.pid)
        finally:
            program.communicate("", timeout=_PATIENCE_SECONDS)


def main(n: int) -> None:
    """Run nodes until the input ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(n):
        cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
    print("address", cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
