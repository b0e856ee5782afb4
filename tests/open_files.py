"""What another program has open."""

import os
from contextlib import suppress
from pathlib import Path


def open_files(pid: int) -> dict[str, str]:
    """Return what each descriptor of a process stands for: a path, or such as `socket:[1234]`.

    Descriptors that are closed while this looks are left out.

    Raises:
        FileNotFoundError: there is no such process.
    """
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[link.name] = os.readlink(link)
    return found
