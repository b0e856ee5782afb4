"""What ``affectd-train archive`` does without Ray: a plain pool of processes, the same batches, the same table.

python tests/archive_pool.py 2 LIST TABLE
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import pyarrow
from tqdm import tqdm

from affectd.recognition.model_file import find_model, model_id, read_model
from affectd_train.archive.sources import recordings_of
from affectd_train.archive.table import opened
from affectd_train.archive.worker import Worker, batch_length, batch_of, schema

worker: Worker


def start() -> None:
    """Load the model once in every process."""
    global worker
    worker = Worker(read_model(find_model()), False)


def answer(batch: pyarrow.Table) -> pyarrow.Table:
    """Answer a batch."""
    return worker(batch)


def main(n: int, source: str, out: Path) -> None:
    """Answer all recordings of a list with so many processes."""
    model, found = read_model(find_model()), recordings_of(source)
    asked = {"schema": 1, "rows": "recordings", "model": model_id(model)}
    size = batch_length(len(found), n)
    with (
        opened(out, schema(model.labels, is_timed=False), asked) as table,
        tqdm(desc="archive", total=len(found), unit="file", smoothing=0.1) as bar,
        ProcessPoolExecutor(n, get_context("spawn"), start) as pool,
    ):
        batches = [batch_of(found[i : i + size]) for i in range(0, len(found), size)]
        for done in as_completed([pool.submit(answer, batch) for batch in batches]):
            rows = done.result()
            table.add(rows)
            bar.update(len(rows))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
