"""Names of sound cards that survive unplugging, renumbering and other sockets.

==============================  ====================================================  ==============================
name                            means                                                 valid while
==============================  ====================================================  ==============================
``usb-id:VID:PID:SERIAL``       one USB device                                        always, in any socket
``usb-id:VID:PID``              the USB device of this model                          there is one of it
``usb-path:CONTROLLER-PORTS``   the device in this USB socket                         the cabling stays
``card:NAME``                   the card with this ALSA id                            there is one of this name
==============================  ====================================================  ==============================

Source: Linux, Documentation/ABI/stable/sysfs-bus-usb (``idVendor``, ``idProduct``, ``serial``) and
testing/sysfs-bus-usb (``devpath``); the name of a socket is the one that ``usb_make_path`` gives it and
``/proc/asound/cards`` shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectd.errors import MicrophoneError

# " 1 [Device         ]: USB-Audio - USB PnP Sound Device"
_CARD = re.compile(r"^ *(\d+) \[(.{1,15}?) *\]: ", re.MULTILINE)
# "USB PnP Sound Device: Audio (hw:1,0)"
_HARDWARE = re.compile(r"\(hw:(\d+),\d+\)")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A sound card as the kernel knows it now."""

    number: int
    """ALSA's number, which may change at the next boot."""
    names: tuple[str, ...]
    """Every stable name that fits it, the most specific first."""


def read_cards(root: Path) -> list[Card]:
    """Return the sound cards present now, in the kernel's order; none without ALSA."""
    try:
        text = (root / "proc/asound/cards").read_text("utf-8", "replace")
    except OSError:
        return []
    return [
        Card(number=int(number), names=(*_usb_names(root / f"sys/class/sound/card{number}/device"), f"card:{name}"))
        for number, name in _CARD.findall(text)
    ]


def find_card(name: str, cards: Sequence[Card]) -> Card:
    """Return the one card that fits a stable name.

    Raises
    ------
    MicrophoneError
        ``missing`` if no card fits, ``refused`` if several do.
    """
    fitting = [card for card in cards if name in card.names]
    if not fitting:
        raise MicrophoneError("missing", f"The microphone {name} is not plugged in.")
    if len(fitting) > 1:
        others = ", ".join(other for card in fitting for other in distinct_names(card, cards))
        raise MicrophoneError("refused", f"Several microphones are called {name}; choose one of {others}.")
    return fitting[0]


def distinct_names(card: Card, cards: Sequence[Card]) -> tuple[str, ...]:
    """Return the names of a card that fit no other card."""
    taken = {name for other in cards if other.number != card.number for name in other.names}
    return tuple(name for name in card.names if name not in taken)


def card_number(device_name: str) -> int | None:
    """Return the number of the card behind a device of PortAudio; None for one that is not hardware."""
    match = _HARDWARE.search(device_name)
    return int(match[1]) if match else None


def _usb_names(device: Path) -> list[str]:
    """Return the names of the USB device behind a card's sysfs entry; none if it is on another bus."""
    interface = device.resolve()
    usb = next((folder for folder in interface.parents if (folder / "idVendor").is_file()), None)
    if usb is None:
        return []
    identity = f"usb-id:{_read(usb, 'idVendor')}:{_read(usb, 'idProduct')}"
    serial = _read(usb, "serial")
    names = [f"{identity}:{serial}"] if serial else []
    names.append(identity)
    # The bus number depends on the order in which drivers load; the name of its controller does not.
    bus = next((folder for folder in usb.parents if re.fullmatch(r"usb\d+", folder.name)), None)
    ports = _read(usb, "devpath")
    if bus is not None and ports:
        names.append(f"usb-path:{bus.parent.name}-{ports}")
    return names


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text("utf-8", "replace").strip()
    except OSError:
        return ""
