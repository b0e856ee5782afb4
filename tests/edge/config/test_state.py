"""The state of a device is its own."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from affectd.config import machine as machine_ids
from affectd.config.machine import machine_name
from affectd.config.state import Folders, claimed_folders
from affectd.errors import UnavailableError
from faulty_disk import FULL, faulty_disk

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    folders = Folders(tmp_path / "state", tmp_path / "run")
    monkeypatch.setenv("STATE_DIRECTORY", str(folders.state))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folders.runtime))
    return folders


def test_two_devices_share_nothing(base: Folders) -> None:
    with claimed_folders("one") as one, claimed_folders("two") as two:
        assert not set(one) & set(two)
        for folder in (*one, *two):
            assert folder is not None
            assert folder.is_relative_to(base.state) or folder.is_relative_to(base.runtime or "")


def test_a_second_process_of_the_same_device_is_refused_while_the_first_one_lives(base: Folders) -> None:
    with (
        claimed_folders("one"),
        pytest.raises(UnavailableError, match=r"Another affectd with the id one .*\[device\] id"),
        claimed_folders("one"),
    ):
        pass
    with claimed_folders("one"):
        pass


def test_a_lock_that_cannot_be_made_is_said_and_stops_nothing(base: Folders, caplog: pytest.LogCaptureFixture) -> None:
    with faulty_disk(lambda step: FULL if step.path.endswith("lock") else None), claimed_folders("one") as folders:
        assert folders.state.is_dir()
    said = [
        f"{folder} cannot be locked, so another affectd with the id one would not be noticed: " for folder in folders
    ]
    assert caplog.messages == [f"{sentence}No space left on device" for sentence in said]


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_in_the_place_of_the_folder_is_not_said_to_exist(
    base: Folders, is_link: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if is_link:
        base.state.symlink_to("nowhere")
    else:
        base.state.touch()
    with claimed_folders("one"):
        pass
    assert "would not be noticed: Not a directory" in caplog.messages[0]


def test_a_file_system_without_rights_is_locked_like_any_other(
    base: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    with claimed_folders("kitchen"):
        assert not [message for message in caplog.messages if "cannot be locked" in message]
        with pytest.raises(UnavailableError, match="is running"), claimed_folders("kitchen"):
            pass


def test_a_second_process_that_shares_one_of_the_folders_is_refused_too(
    base: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed_folders("one"):
        for name, own in (("STATE_DIRECTORY", base.state), ("RUNTIME_DIRECTORY", base.runtime)):
            monkeypatch.setenv(name, str(tmp_path / "other"))
            with pytest.raises(UnavailableError, match="is running and uses"), claimed_folders("one"):
                pass
            monkeypatch.setenv(name, str(own))


def test_ids_longer_than_the_name_of_a_folder_have_folders_too(base: Folders) -> None:
    with claimed_folders("x" * 300 + "1") as one, claimed_folders("x" * 300 + "2") as two:
        assert all(folder is not None and folder.is_dir() for folder in (*one, *two))
        assert not set(one) & set(two)


def test_others_may_not_look_into_the_folders_whatever_the_umask(base: Folders) -> None:
    before = os.umask(0)
    try:
        with claimed_folders("one") as folders:
            for folder in (base.state, folders.state.parent, folders.state):
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_the_first_device_takes_over_what_there_was_before(base: Folders) -> None:
    assert base.runtime is not None
    base.state.mkdir()
    base.runtime.mkdir()
    event = b'00000000 0000000000000001 {"schema": 1, "device": "one"}\n'
    for name, content in (("muted", b""), ("outbox.sqlite", b"x"), ("outbox.sqlite-wal", b"y"), ("other", b"z")):
        (base.state / name).write_bytes(content)
    (base.runtime / "outbox.journal").write_bytes(event)
    with claimed_folders("one") as one:
        assert {path.name for path in one.state.iterdir()} >= {"muted", "outbox.sqlite", "outbox.sqlite-wal"}
        assert one.runtime is not None
        assert (one.runtime / "outbox.journal").read_bytes() == event
        assert {path.name for path in base.state.iterdir()} == {"devices", "other"}
        with claimed_folders("two") as two:
            assert not (two.state / "muted").exists()


def test_events_of_another_device_are_not_taken_over(base: Folders, caplog: pytest.LogCaptureFixture) -> None:
    base.state.mkdir()
    (base.state / "outbox.journal").write_bytes(b'0 1 {"schema": 1, "device": "old"}\n')
    (base.state / "muted").touch()
    with claimed_folders("new") as new:
        assert not (new.state / "outbox.journal").exists()
        assert (new.state / "muted").exists(), "in doubt the microphone stays closed"
        assert "another id" in caplog.text
    with claimed_folders("old") as old:
        assert (old.state / "outbox.journal").exists()


def test_what_cannot_be_moved_stays_in_force(base: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    base.state.mkdir()
    (base.state / "muted").touch()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with claimed_folders("one") as folders:
        assert folders.state == base.state


# The last one as a disk that fails: not even whether there is something can be told.
@pytest.mark.parametrize("inside", ["file/state", "loop/state", "x" * 300])
def test_folders_that_cannot_be_made_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / inside))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with claimed_folders("one") as folders:
        assert folders.runtime is None


def machine(folder: Path, **files: str) -> str:
    places = {"id": "etc/machine-id", "serial": "proc/device-tree/serial-number"}
    for name, content in files.items():
        path = folder / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return machine_name(folder)


def test_every_machine_has_a_name_of_its_own(tmp_path: Path) -> None:
    one, two = "a" * 32 + "\n", "b" * 32 + "\n"
    ids = [{"id": one}, {"id": two}, {"id": one, "serial": "1\0"}, {"serial": "1\0"}]
    names = [machine(tmp_path / str(n), **files) for n, files in enumerate(ids)]
    assert len(set(names)) == len(ids)
    assert machine(tmp_path / "again", id="a" * 32) == names[0]
    assert all("aaa" not in name for name in names)


@pytest.mark.parametrize("files", [{}, {"id": ""}, {"id": "uninitialized\n"}])
def test_without_a_machine_id_the_network_card_gives_the_name(tmp_path: Path, files: dict[str, str]) -> None:
    name = machine(tmp_path / "one", **files)
    assert name == machine(tmp_path / "two", **files)
    assert name.startswith("affectd-")


@pytest.mark.parametrize(("node", "is_said"), [(0x03_42_AC_11_00_02, True), (0x02_42_AC_11_00_02, False)])
def test_a_name_that_is_another_one_at_each_start_is_said(
    base: Folders, node: int, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine_ids, "_read", lambda path: b"")
    monkeypatch.setattr("uuid.getnode", lambda: node)  # made up by Python, or of the network card of a container
    machine_name.cache_clear()
    try:
        with claimed_folders(machine_name()), claimed_folders("kitchen"):
            assert ["[device] id" in line for line in caplog.messages] == [True] * is_said
    finally:
        machine_name.cache_clear()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277, 0o777])
@pytest.mark.parametrize("existing", ["nothing", "wide"])
def test_the_state_is_of_its_owner_alone_whatever_the_umask(tmp_path: Path, umask: int, existing: str) -> None:
    """Of the program itself, whose outbox keeps the events because there is no broker."""
    folders = [tmp_path / "state" / "affectd", tmp_path / "run" / "affectd"]
    if existing == "wide":
        for folder in folders:
            (folder / "devices" / "kitchen").mkdir(parents=True)
            (folder / "devices" / "kitchen" / "lock").touch()
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
    settings = tmp_path / "affectd.toml"
    settings.write_text('[device]\nid = "kitchen"\n[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = 1\n')
    program = (
        f"import os, sys; os.umask({umask}); from affectd.mqtt.mute import Mute; from pathlib import Path\n"
        f"from affectd.__main__ import main; Mute(Path({str(folders[0])!r}, 'devices', 'kitchen')).set(True)\n"
        f"sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, "run", "--source", str(DEMO), "--config", str(settings)],
        env=os.environ | {"STATE_DIRECTORY": str(folders[0]), "RUNTIME_DIRECTORY": str(folders[1])},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for folder in folders:
        found = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
        assert len(found) > 2
        assert found == {path: 0o700 if path.is_dir() else 0o600 for path in found}
    assert (folders[0] / "devices" / "kitchen" / "muted").exists()
    assert list(folders[0].rglob("outbox.journal"))


def test_a_folder_that_others_use_too_is_warned_of(base: Folders, caplog: pytest.LogCaptureFixture) -> None:
    base.state.mkdir()
    base.state.chmod(0o755)
    (base.state / "of another program").touch()
    with claimed_folders("one"):
        pass
    assert stat.S_IMODE(base.state.stat().st_mode) == 0o755
    assert stat.S_IMODE((base.state / "devices").stat().st_mode) == 0o700
    assert caplog.messages == [f"other users may enter the folder of the state: chmod 700 {base.state}"]
