"""Brings the file of a signed message into its place, as a process of its own: download, digest, self-test.

Nothing of it stays in the memory of the service, and what a server or a network does to it ends here. It reads an
`Order` from standard input and prints a `Verdict`, each a JSON object. It changes nothing that is in force.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from affectd.delivery.installed import file_of, part_of
from affectd.delivery.message import RefusedError
from affectd.errors import AffectdError, ModelFileError
from affectd.files import private_folder, sha256, sync

_STEP_BYTES = 1 << 20
_IDLE = 19


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the process is told."""

    url: str
    n_bytes: int
    sha256: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of it."""

    outcome: str
    """``ready``: the file is in its place; ``refused``; ``failed``: it may work later."""
    why: str = ""
    sentence: str = ""
    model: str = ""
    """The id of a model that is ready."""


def receive(order: Order) -> Verdict:
    """Bring a file into its place, if it is what was signed and works here."""
    folder, why = Path(order.folder), "download"
    try:
        part = _downloaded(order, folder)
        why = "model"
        model = _tried(part)
        os.replace(part, file_of(folder, order.sha256))
        sync(folder)
    except RefusedError as error:
        return Verdict(outcome="refused" if error.is_final else "failed", why=error.why, sentence=str(error))
    except ModelFileError as error:
        return Verdict(outcome="refused", why=why, sentence=str(error))
    except (AffectdError, OSError) as error:
        return Verdict(outcome="failed", why=why, sentence=str(error))
    return Verdict(outcome="ready", model=model)


def _downloaded(order: Order, folder: Path) -> Path:
    """Return the file with the content that was signed."""
    # Only here, and not where the service asks for an `Order`: it takes 7.5 MB.
    from affectd.delivery.download import download

    private_folder(folder)
    part = part_of(folder, order.sha256)
    for other in folder.glob("*.part"):
        if other != part:
            other.unlink()
    download(order.url, order.n_bytes, part)
    digest = sha256()
    with part.open("rb") as file:
        while data := file.read(_STEP_BYTES):
            digest.update(data)
        os.fsync(file.fileno())
    if digest.hexdigest() != order.sha256:
        part.unlink()
        raise RefusedError("digest", f"what is at {order.url} is not what was signed", is_final=False)
    return part


def _tried(part: Path) -> str:
    """Return the id of a model that passes its self-test, in one process more, because it may crash."""
    # Only now: most failures come before, and are to cost little.
    from affectd.recognition.classifier import Classifier
    from affectd.recognition.golden import self_test
    from affectd.recognition.model_file import model_id, read_model
    from affectd.recognition.trial import survive

    try:
        model = read_model(part)
        survive(lambda: self_test(model, Classifier(model)))
    except ModelFileError as error:
        part.unlink()
        raise ModelFileError(str(error).removeprefix(f"model file {part}: ")) from error
    return model_id(model)


def main() -> None:
    """Do as the module says; what libraries print goes to the log."""
    with suppress(OSError):  # a unit file of another may forbid it
        os.nice(_IDLE)  # the sound goes first
    out = os.dup(1)
    os.dup2(2, 1)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    verdict = receive(Order(**json.load(sys.stdin)))
    with suppress(BrokenPipeError):  # the service was killed
        os.write(out, json.dumps(asdict(verdict)).encode())


if __name__ == "__main__":
    main()
