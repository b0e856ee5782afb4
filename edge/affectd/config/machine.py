"""The default id of a device: different on every machine, and the same after every start.

Source: Linux manual page machine-id(5), which asks to hash it before it is shown.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from affectd.files import sha256

_MOST_BYTES = 256


@cache
def machine_name(root: Path = Path("/")) -> str:
    """Return ``affectd-`` and eight digits.

    They are made from the machine id and, because cards are copied with it, from the serial number of the board; where
    there is neither, from the address of the network card.
    """
    ids = [_read(root / path) for path in ("etc/machine-id", "proc/device-tree/serial-number")]
    if not any(ids):
        import uuid  # takes as long as reading all settings

        ids = [b"%012x" % uuid.getnode()]
    return f"affectd-{sha256(b'affectd' + b' '.join(ids)).hexdigest()[:8]}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).strip(b"\0\n ")
    except OSError:
        return b""
    # systemd writes this into an image before its first start.
    return b"" if text == b"uninitialized" else text
