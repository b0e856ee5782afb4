"""``affectd-train archive``: Ray hands recordings to workers, this process writes what they answer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from affectd_train.cluster import RETRIES, cluster, without_ray

try:
    import fsspec  # noqa: F401
    import pyarrow
    import pyarrow.compute
    import ray
    import ray.data
except ImportError as error:
    raise without_ray("archive", error) from error
from tqdm import tqdm

from affectd.config.sections import ModelConfig
from affectd.errors import UnavailableError
from affectd.recognition.classifier import load_classifier
from affectd.recognition.model_file import ModelFile, model_id
from affectd_train.archive.sources import Found, recordings_of
from affectd_train.archive.table import Table, opened
from affectd_train.archive.worker import UNHEARD, Worker, batch_length, batch_of, schema, unanswered


def archive(
    source: str, out: Path, *, is_timed: bool, model_path: Path | None, address: str | None, workers: int | None
) -> str:
    """Answer each recording of an archive that is not in the table yet; return what the table holds.

    Parameters
    ----------
    source
        As for `affectd_train.archive.sources.recordings_of`.
    out
        The folder of the table.
    is_timed
        A row for each segment instead of each recording.
    model_path
        The model file; None: the packaged one.
    address
        Of a cluster to join; None: this machine alone.
    workers
        How many processes answer; None: one for each processor.

    Raises
    ------
    AffectdError
        The model cannot be run, there are no recordings, the table is another one, or the cluster does not answer.
    OSError
        The table cannot be written, or a worker has no room for copies of recordings; the others are in the table.
    """
    model = load_classifier(ModelConfig(path=str(model_path or ""))).model
    recordings = recordings_of(source)
    asked = {"schema": 1, "rows": "segments" if is_timed else "recordings", "model": model_id(model)}
    with opened(out, schema(model.labels, is_timed=is_timed), asked) as table:
        todo = [one for one in recordings if one.path not in table.done]
        if todo:
            with cluster(address, workers) as n_workers:
                _answer(todo, table, model, is_timed, n_workers, len(recordings))
    n_before = len(recordings) - len(todo)
    already = f", {n_before} of them already" if n_before else ""
    broken = f"; {table.n_broken} broken: {out / '_broken'}" if table.n_broken else ""
    return f"{out}: {len(recordings)} recordings{already}{broken}"


def _answer(todo: Sequence[Found], table: Table, model: ModelFile, is_timed: bool, n_workers: int, n_all: int) -> None:
    waiting = {one.path: one for one in todo}
    unheard: dict[str, str] = {}  # path -> what the machine lacks that should have heard it
    size = batch_length(len(todo), n_workers)
    with tqdm(desc="archive", total=n_all, initial=n_all - len(todo), unit="file", smoothing=0.1) as bar:

        def take(rows: pyarrow.Table) -> None:
            reasons = zip(*(rows[name].to_pylist() for name in ("path", UNHEARD)), strict=True)
            unheard.update({path: reason for path, reason in reasons if reason and waiting.pop(path, None)})
            paths = waiting.keys() & set(rows["path"].to_pylist())
            table.add(rows.filter(pyarrow.compute.is_in(rows["path"], pyarrow.array(paths, pyarrow.string()))))
            for path in paths:
                del waiting[path]
            bar.update(len(paths))

        # A recording at which a worker dies takes the others of its batch with it; the second time each is alone.
        for length in (size, 1):
            for rows in _answers([*waiting.values()], length, model, is_timed, n_workers):
                take(rows)
        if waiting:
            take(unanswered([*waiting], "the worker died at it", model.labels, is_timed=is_timed))
    if unheard:
        reason = next(iter(unheard.values()))
        raise OSError(f"{len(unheard)} of {n_all} recordings are not heard: {reason}; the same command hears them")


def _answers(
    recordings: Sequence[Found], length: int, model: ModelFile, is_timed: bool, n_workers: int
) -> Iterator[pyarrow.Table]:
    """Yield the rows of one batch after the other, in the order in which they are ready."""
    if not recordings:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    batches = [batch_of(recordings[i : i + length]) for i in range(0, len(recordings), length)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the next version calls otherwise
        answers = ray.data.from_arrow(batches).map_batches(
            Worker,
            fn_constructor_args=(model, is_timed),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(n_workers, len(batches))),
            num_cpus=1,
            max_task_retries=RETRIES,
        )
    try:
        yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise UnavailableError(f"no worker can go on: {str(error).strip().splitlines()[-1]}") from error
