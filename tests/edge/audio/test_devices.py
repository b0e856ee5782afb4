"""Stable names, on trees like those of real machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.audio.cards import Card, card_number, distinct_names, find_card, read_cards
from affectd.errors import MicrophoneError

# A Raspberry Pi 4: its own sound beside USB, behind PCI Express.
PI4 = "devices/platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0"
PI4_HEADPHONES = "devices/platform/soc/fe00b840.mailbox/bcm2835_audio"
PC_BUILT_IN = "devices/pci0000:00/0000:00:1f.3"


@dataclass
class Usb:
    """A USB sound device in a socket; ``ports`` as 1.3: socket 3 of the hub in socket 1."""

    card: str
    vid_pid: str = "0d8c:0014"
    serial: str | None = None
    controller: str = PI4
    bus: int = 1
    ports: str = "1.3"


def plug(root: Path, cards: dict[int, Usb | tuple[str, str]]) -> None:
    """Build /proc/asound and /sys as Linux does: cards are symlinks into /sys/devices, by relative paths."""
    lines = []
    for number, card in cards.items():
        if isinstance(card, Usb):
            vid, pid = card.vid_pid.split(":")
            name, port_list = card.card, card.ports.split(".")
            chain = [f"{card.bus}-{'.'.join(port_list[: i + 1])}" for i in range(len(port_list))]
            device = root / "sys" / card.controller / f"usb{card.bus}" / "/".join(chain)
            interface = device / f"{chain[-1]}:1.0"
            interface.mkdir(parents=True)
            (device / "idVendor").write_text(f"{vid}\n")
            (device / "idProduct").write_text(f"{pid}\n")
            (device / "devpath").write_text(f"{card.ports}\n")
            if card.serial is not None:
                (device / "serial").write_text(f"{card.serial}\n")
            # Hubs and the root hub are USB devices too.
            for hub in (device.parents[i] for i in range(len(chain))):
                (hub / "idVendor").write_text("1d6b\n")
                (hub / "idProduct").write_text("0002\n")
                (hub / "serial").write_text("0000:01:00.0\n")
            at = f"usb-{card.controller.rsplit('/', 1)[-1]}-{card.ports}"
            lines.append(f"{number:2d} [{name:<15}]: USB-Audio - USB PnP Sound Device")
            lines.append(f"{'':22}C-Media Electronics Inc. USB PnP Sound Device at {at}, full speed")
        else:
            name, path = card
            interface = root / "sys" / path
            interface.mkdir(parents=True)
            (interface / "vendor").write_text("0x8086\n")
            lines.append(f"{number:2d} [{name:<15}]: driver - a [card] of the board: it says")
            lines.append(f"{'':22}so")
        real = interface / f"sound/card{number}"
        real.mkdir(parents=True)
        (real / "device").symlink_to("../..")
        place = root / "sys/class/sound"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"card{number}").symlink_to(Path("../../..") / real.relative_to(root))
    (root / "proc/asound").mkdir(parents=True)
    (root / "proc/asound/cards").write_text("\n".join(lines) + "\n" if lines else "--- no soundcards ---\n")


def test_a_usb_microphone_has_every_name_and_a_built_in_one_only_its_own(tmp_path: Path) -> None:
    plug(tmp_path, {0: ("Headphones", PI4_HEADPHONES), 1: Usb("Device", serial="A 1.7"), 3: ("PCH", PC_BUILT_IN)})
    assert read_cards(tmp_path) == [
        Card(number=0, names=("card:Headphones",)),
        Card(
            number=1,
            names=(
                "usb-id:0d8c:0014:A 1.7",
                "usb-id:0d8c:0014",
                "usb-path:0000:01:00.0-1.3",
                "card:Device",
            ),
        ),
        Card(number=3, names=("card:PCH",)),
    ]


def test_the_socket_is_named_as_the_kernel_names_it_in_proc(tmp_path: Path) -> None:
    plug(tmp_path, {0: Usb("Mic", controller="devices/platform/soc/3f980000.usb", ports="1.1.2")})
    socket = next(name for name in read_cards(tmp_path)[0].names if name.startswith("usb-path:"))
    assert f"at usb-{socket.removeprefix('usb-path:')}," in (tmp_path / "proc/asound/cards").read_text()


@pytest.mark.parametrize("name", ["usb-id:0d8c:0014", "usb-path:0000:01:00.0-1.3", "card:Device"])
def test_a_name_survives_another_order_of_cards_and_buses(tmp_path: Path, name: str) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    plug(before, {0: ("Headphones", PI4_HEADPHONES), 1: Usb("Device"), 2: Usb("Other", "046d:0825", ports="1.4")})
    plug(
        after,
        {0: Usb("Other", "046d:0825", bus=3, ports="1.4"), 1: ("vc4hdmi", "devices/hdmi"), 2: Usb("Device", bus=3)},
    )
    assert find_card(name, read_cards(before)).number == 1
    assert find_card(name, read_cards(after)).number == 2


def test_the_identity_follows_the_device_and_the_path_the_socket(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    plug(before, {1: Usb("Device", serial="A", ports="1.1"), 2: Usb("Device_1", serial="B", ports="1.2")})
    plug(after, {1: Usb("Device", serial="B", ports="1.1"), 2: Usb("Device_1", serial="A", ports="1.2")})
    for root, numbers in ((before, (1, 2)), (after, (2, 1))):
        cards = read_cards(root)
        assert tuple(find_card(f"usb-id:0d8c:0014:{serial}", cards).number for serial in "AB") == numbers
        assert find_card("usb-path:0000:01:00.0-1.1", cards).number == 1


def test_of_two_equal_microphones_the_shared_names_are_refused_and_not_offered(tmp_path: Path) -> None:
    plug(tmp_path, {1: Usb("Device", serial="0", ports="1.1"), 2: Usb("Device_1", serial="0", ports="1.2")})
    cards = read_cards(tmp_path)
    assert distinct_names(cards[0], cards) == ("usb-path:0000:01:00.0-1.1", "card:Device")
    for name in ("usb-id:0d8c:0014", "usb-id:0d8c:0014:0"):
        with pytest.raises(MicrophoneError, match=r"choose one of .*-1\.1.*-1\.2.*card:Device_1") as caught:
            find_card(name, cards)
        assert caught.value.reason == "refused"


def test_an_absent_card_is_missing_by_name(tmp_path: Path) -> None:
    plug(tmp_path, {0: ("Headphones", PI4_HEADPHONES)})
    with pytest.raises(MicrophoneError, match="usb-id:0d8c:0014 is not plugged in") as caught:
        find_card("usb-id:0d8c:0014", read_cards(tmp_path))
    assert caught.value.reason == "missing"


def test_a_machine_without_cards_or_without_sound_has_none(tmp_path: Path) -> None:
    assert read_cards(tmp_path) == []
    plug(tmp_path, {})
    assert read_cards(tmp_path) == []


def test_a_card_that_vanishes_while_it_is_read_keeps_its_name(tmp_path: Path) -> None:
    plug(tmp_path, {1: Usb("Device")})
    (tmp_path / "sys/class/sound/card1").unlink()
    assert read_cards(tmp_path) == [Card(number=1, names=("card:Device",))]


@given(names=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=4))
def test_every_name_that_is_offered_finds_its_card(names: list[list[str]]) -> None:
    cards = [Card(number=number, names=tuple(of_card)) for number, of_card in enumerate(names)]
    for card in cards:
        for name in distinct_names(card, cards):
            assert find_card(name, cards) is card


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("USB PnP Sound Device: Audio (hw:1,0)", 1),
        ("A (hw) thing: - (hw:12,3)", 12),
        ("default", None),
        ("pulse", None),
        ("sysdefault:1", None),
    ],
)
def test_portaudio_names_lead_to_cards(name: str, number: int | None) -> None:
    assert card_number(name) == number
