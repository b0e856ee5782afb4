"""The runs of a protocol as tasks of Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence

from affectd_train.cluster import RETRIES, cluster, without_ray, work_in

try:
    import ray
except ImportError as error:
    raise without_ray("evaluate --address", error) from error
from tqdm import tqdm

from affectd.errors import AffectdError, UnavailableError
from affectd_train.compiled import compile_librosa
from affectd_train.protocols.ahead import Job


def on_ray(address: str, jobs: Sequence[Job]) -> None:
    """Run jobs as tasks, one for each processor at a time.

    Parameters
    ----------
    address
        Of a cluster, whose machines have the same folders at the same paths; "local" is this machine alone.

    Raises
    ------
    AffectdError, OSError
        What the first job that failed has raised, or that Ray does not answer or a process was killed too often.
    """
    if len(jobs) < 2:  # which the caller can do as well
        return
    with cluster(None if address == "local" else address, None):
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        here = ray.put(os.getcwd())
        waiting = [task.remote(here, job) for job in jobs]
        with tqdm(desc="evaluate", total=len(jobs), unit="run") as bar:
            while waiting:
                done, waiting = ray.wait(waiting)
                for failed in _results(done):
                    if failed is not None:
                        raise failed
                bar.update(len(done))


def _results(done: Sequence[object]) -> list[AffectdError | OSError | None]:
    try:
        return list(ray.get(done))
    except ray.exceptions.RayTaskError:  # a mistake in the program, whose traceback it carries
        raise
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise UnavailableError(f"no task can go on: {str(error).strip().splitlines()[-1]}") from error


def _run(here: str, job: Job) -> AffectdError | OSError | None:
    """Run a job in the folder of the caller."""
    work_in(here)
    compile_librosa()  # of its machine this may be the first
    try:
        job()
    except (AffectdError, OSError) as error:  # such as of a full disk
        return error
    return None
