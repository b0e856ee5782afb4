"""The default id of a device: different on every machine, and the same after every start.

Sources: Linux manual page machine-id(5), which asks to hash it before it is shown; K. Davis, B. Peabody, P. Leach, RFC
9562, section 6.10, of a made-up address, whose first octet says multicast.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from affectd.files import sha256

_MOST_BYTES = 256
_MULTICAST = 1 << 40


@cache
def machine_name(root: Path = Path("/")) -> str:
    """Return ``affectd-`` and eight digits.

    They are made from the machine id and, because cards are copied with it, from the serial number of the board; where
    there is neither, from the address of the network card.
    """
    return f"affectd-{sha256(b'affectd' + b' '.join(_ids(root) or [b'%012x' % _node()])).hexdigest()[:8]}"


def is_made_up(name: str) -> bool:
    """Return whether this is the name of a machine without anything of its own: it has another one at each start."""
    return not _ids(Path("/")) and _node() & _MULTICAST != 0 and name == machine_name()


def _ids(root: Path) -> list[bytes]:
    """Return machine id and serial number; empty if there is neither."""
    ids = [_read(root / path) for path in ("etc/machine-id", "proc/device-tree/serial-number")]
    return ids if any(ids) else []


def _node() -> int:
    import uuid  # takes as long as reading all settings

    return uuid.getnode()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).strip(b"\0\n ")
    except OSError:
        return b""
    # systemd writes this into an image before its first start.
    return b"" if text == b"uninitialized" else text
