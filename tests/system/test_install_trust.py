"""scripts/install-edge on this machine, with folders of its own in place of those it writes to.

What it may run and read as root, and what it leaves behind. The whole of it is in test_install.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from installer_host import PAGES, Machine
from roots import REPOSITORY

NOT_MINE = 65534
"""A user and group without rights."""


def test_nothing_that_lies_in_the_current_folder_or_is_named_in_the_environment_runs(machine: Machine) -> None:
    trap = machine.folder / "elsewhere"
    ran = machine.folder / "ran"
    for name in ("venv", "pip", "ensurepip", "sitecustomize", "usercustomize", "affectd", "pyaudio", "hashlib", "sys"):
        (trap / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
        (trap / name).mkdir()
        for part in ("__init__", "__main__"):
            shutil.copy(trap / f"{name}.py", trap / name / f"{part}.py")
    for name in ("python3", "dpkg", "dpkg-query", "sha256sum", "mktemp", "find", "realpath", "id", "flock", "env"):
        (trap / name).unlink(missing_ok=True)
        (trap / name).write_text(f"#!/bin/sh\necho {name} >>'{ran}'\nexit 1\n")
        (trap / name).chmod(0o755)
    (trap / "pip.conf").write_text("[global]\nno-such-option = 1\nrequire-virtualenv = nonsense\n")
    here = str(trap)
    done = machine.install(
        "--offline",
        machine.wheelhouse,
        cwd=trap,
        PATH=f".:{here}:/usr/bin:/bin",
        PYTHONPATH=here,
        PYTHONHOME=here,
        PYTHONUSERBASE=here,
        PIP_CONFIG_FILE=f"{here}/pip.conf",
        PIP_REQUIRE_HASHES="1",
        PIP_TARGET=here,
        TMPDIR=here,
        XDG_CONFIG_HOME=here,
        BASH_ENV=f"{here}/env",
        ENV=f"{here}/env",
        CDPATH=here,
    )
    assert done.returncode == 0, done.stderr
    assert not ran.exists(), ran.read_text()
    assert machine.version() == "1.9"


@pytest.mark.parametrize("called", ["link to a link", "relative link", "sh"])
def test_it_works_however_it_is_called(installed: Machine, called: str) -> None:
    elsewhere = installed.folder / "elsewhere"
    script: str | Path = elsewhere / "affectd install"
    words: list[str | Path] = ["--offline", "../wheels of mine"]
    if called == "sh":
        (installed.script).chmod(0o644)
        words = ["../the checkout/scripts/install-edge", *words]
        script = "sh"
    elif called == "relative link":
        (elsewhere / "affectd install").symlink_to("../the checkout/scripts/install-edge")
    else:
        (elsewhere / "first").symlink_to(installed.script)
        (elsewhere / "affectd install").symlink_to("first")
    done = installed.install(*words, script=script, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr


def _writable(path: Path, mode: int = 0o777) -> Path:
    path.chmod(mode)
    return path


def _owned(path: Path, user: int = NOT_MINE, group: int = -1) -> Path:
    os.chown(path, user, group)
    return path


UNSAFE: dict[str, Callable[[Machine], Path]] = {
    "a wheelhouse for all": lambda machine: _writable(machine.wheelhouse),
    "a wheelhouse for all, sticky": lambda machine: _writable(machine.wheelhouse, 0o1777),
    "a wheelhouse for a group": lambda machine: _writable(_owned(machine.wheelhouse, 0, NOT_MINE), 0o775),
    "a wheelhouse of another user": lambda machine: _owned(machine.wheelhouse),
    "the folder above": lambda machine: _writable(machine.folder),
    "the folder above, of another user": lambda machine: _owned(machine.folder),
    "a wheel for all": lambda machine: _writable(next(machine.wheelhouse.glob("*.whl")), 0o666),
    "a wheel of another user": lambda machine: _owned(next(machine.wheelhouse.glob("*.whl"))),
    "the list": lambda machine: _writable(machine.wheelhouse / "SHA256SUMS", 0o666),
    "the checkout": lambda machine: _writable(machine.checkout),
    "the documents": lambda machine: _owned(machine.checkout / "docs"),
    "the unit": lambda machine: _writable(machine.checkout / "scripts/affectd.service", 0o666),
    "what was installed": lambda machine: _writable(machine.folder / "opt/affectd"),
    "the interpreter": lambda machine: _writable(machine.folder / "opt/affectd/releases"),
    "the settings": lambda machine: _writable(machine.folder / "etc/affectd/affectd.toml", 0o666),
    "the settings' folder": lambda machine: _owned(machine.folder / "etc/affectd"),
}


@pytest.mark.parametrize("unsafe", UNSAFE)
def test_what_others_could_change_is_refused_by_its_name(installed: Machine, unsafe: str) -> None:
    path = UNSAFE[unsafe](installed)
    before = installed.leftovers()
    done = installed.install("--offline", installed.wheelhouse)
    assert done.returncode == 77, done.stderr
    (line,) = done.stderr.splitlines()
    assert path.name in line
    assert "may be changed by other users" in line
    assert "a copy in a folder of root's own" in line
    assert installed.leftovers() == before == []


def test_a_link_leads_to_what_is_looked_at_too(installed: Machine) -> None:
    target = installed.folder / "elsewhere/evil.md"
    target.write_text("")
    target.chmod(0o666)
    (installed.checkout / "docs/page.md").symlink_to(target)
    done = installed.install("--offline", installed.wheelhouse)
    assert done.returncode == 77
    assert "elsewhere/evil.md may be changed" in done.stderr


def test_man_and_shells_find_the_version_in_use(installed: Machine) -> None:
    """What the links lead to, as it lies in the folders of this machine."""
    for page in PAGES:
        target = os.readlink(installed.folder / "share" / page)
        assert target == f"/opt/affectd/share/{page}"
        assert (installed.folder / target.lstrip("/")).read_text() == f"{page} of 1.9"
    assert sorted(PAGES) == sorted(
        str(path.relative_to(REPOSITORY / "share"))
        for path in (REPOSITORY / "share").rglob("*")
        if path.is_file() and "affectd-train" not in path.name
    )
    mine = installed.folder / "share" / PAGES[0]
    mine.unlink()
    mine.write_text("my own")
    (installed.wheelhouse / "affectd-1.9-py3-none-any.whl").unlink()
    installed.wheel("2.0", installed.wheelhouse)
    installed.list_wheels()
    assert installed.install("--offline", installed.wheelhouse).returncode == 0
    assert mine.read_text() == "my own"
    link = installed.folder / "share" / PAGES[1]
    assert (installed.folder / os.readlink(link).lstrip("/")).read_text() == f"{PAGES[1]} of 2.0"
    assert installed.leftovers() == []
    done = installed.install("--uninstall")
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(installed.folder / "share")) for path in (installed.folder / "share").rglob("*")}
    assert left == {"man", "man/man1", PAGES[0]}


def test_uninstalling_runs_nothing_that_others_could_change(installed: Machine) -> None:
    _writable(installed.folder / "opt/affectd/releases")
    done = installed.install("--uninstall")
    assert done.returncode == 77
    assert (installed.folder / "opt/affectd/current").exists()


def test_the_sentence_mends_it(installed: Machine) -> None:
    wheel = _owned(_writable(next(installed.wheelhouse.glob("*.whl")), 0o666))
    _writable(installed.wheelhouse)
    for _ in range(3):
        done = installed.install("--offline", installed.wheelhouse)
        if done.returncode == 0:
            break
        advice = done.stderr.split("would run as root: ")[1].split(" mends it")[0].replace("sudo ", "")
        subprocess.run(advice, shell=True, check=True)
    assert done.returncode == 0, done.stderr
    assert wheel.stat().st_uid == 0


def test_a_checkout_of_who_called_sudo_is_fine_and_so_is_a_place_in_tmp(installed: Machine) -> None:
    for path in [installed.folder, *installed.checkout.rglob("*"), *installed.wheelhouse.rglob("*")]:
        _owned(path)
    done = installed.install("--offline", installed.wheelhouse, SUDO_UID=str(NOT_MINE))
    assert done.returncode == 0, done.stderr
    for path in [installed.folder, *installed.checkout.rglob("*"), *installed.wheelhouse.rglob("*")]:
        _owned(path, 0)
    _writable(installed.folder, 0o1777)
    done = installed.install("--offline", installed.wheelhouse)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["changed", "missing", "added", "hidden", "a link"])
def test_a_wheelhouse_that_is_not_as_it_was_made_is_refused(machine: Machine, how: str) -> None:
    wheel = next(machine.wheelhouse.glob("*.whl"))
    other = machine.wheelhouse / "numpy-9-py3-none-any.whl"
    other.write_bytes(b"as it was")
    machine.list_wheels()
    if how == "changed":
        other.write_bytes(b"as it is ")
    elif how == "missing":
        other.unlink()
    elif how == "a link":
        other.unlink()
        other.symlink_to(wheel)
    else:
        other = machine.wheelhouse / ("debian/evil.deb" if how == "added" else ".evil-1-py3-none-any.whl")
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(b"more")
    done = machine.install("--offline", machine.wheelhouse)
    assert done.returncode == 65
    (line,) = done.stderr.splitlines()
    assert other.name in line
    assert "affectd-1.9" not in line
    assert not list((machine.folder / "opt").iterdir())


def test_a_wheelhouse_without_its_list_is_refused(machine: Machine) -> None:
    (machine.wheelhouse / "SHA256SUMS").unlink()
    done = machine.install("--offline", machine.wheelhouse)
    assert done.returncode == 66
    assert "there is no list SHA256SUMS in" in done.stderr


def test_an_older_version_needs_a_word(installed: Machine) -> None:
    for older in ("1.8", "1.9rc1"):
        wheel = installed.wheel(older, installed.folder)
        done = installed.install(wheel, "--offline", installed.wheelhouse)
        assert done.returncode == 64
        assert f"affectd {older} is older than 1.9, which is installed: add --downgrade" in done.stderr
        assert installed.version() == "1.9"
        assert not installed.leftovers()
    done = installed.install(wheel, "--offline", installed.wheelhouse, "--downgrade")
    assert done.returncode == 0, done.stderr
    assert installed.version() == older
    newer = "1.10.dev3"  # numbers are not text
    done = installed.install(installed.wheel(newer, installed.folder), "--offline", installed.wheelhouse)
    assert done.returncode == 0, done.stderr
    assert installed.version() == newer


def test_a_wheel_whose_name_tells_another_version_is_refused(installed: Machine) -> None:
    wheel = installed.wheel("1.0", installed.folder)
    wheel = wheel.rename(wheel.with_name("affectd-99.0-py3-none-any.whl"))
    done = installed.install(wheel, "--offline", installed.wheelhouse)
    assert done.returncode == 65
    assert "affectd-99.0-py3-none-any.whl holds affectd 1.0, not what its name says" in done.stderr
    assert installed.version() == "1.9"


def test_after_a_kill_the_old_version_stays_and_the_next_call_cleans_up(installed: Machine) -> None:
    wheel = installed.wheel("2.0", installed.folder)
    process = installed.start(wheel, "--offline", installed.wheelhouse)
    with process, (installed.checkout / "README.md").open("wb"):  # opens when the installer has come there
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert installed.version() == "1.9"
    assert len(installed.leftovers()) == 2, "a half-made version and the folder with pip"
    # What it may leave at a later moment; in the meantime people have written their settings.
    (installed.folder / "etc/affectd/affectd.toml.new").write_text("half")
    settings = installed.folder / "etc/affectd/affectd.toml"
    settings.write_text("mine")
    (installed.checkout / "README.md").unlink()
    (installed.checkout / "README.md").write_text("read me")
    done = installed.install("--offline", installed.wheelhouse)
    assert done.returncode == 0, done.stderr
    assert not installed.leftovers()
    assert settings.read_text() == "mine"
    assert installed.version() == "1.9"


def test_a_wheelhouse_half_made_by_a_killed_call_is_made_anew(machine: Machine) -> None:
    half = machine.folder / "half"
    half.mkdir()
    (half / "numpy-9-py3-none-any.whl").write_text("half")
    (machine.folder / "tmp/affectd-collect.killed").mkdir()
    done = machine.install("--wheelhouse", half)
    assert done.returncode == 64
    assert "is not empty" in done.stderr, "it may be something else"
    (half / ".incomplete-affectd").touch()
    done = machine.install("--wheelhouse", half)
    assert done.returncode == 69
    assert "pip could not build affectd" in done.stderr, "as far as it comes without a network"
    assert not list(half.iterdir())
    assert not list((machine.folder / "tmp").iterdir())


def test_a_second_one_at_the_same_time_is_refused(installed: Machine) -> None:
    process = installed.start(installed.wheel("2.0", installed.folder), "--offline", installed.wheelhouse)
    with process, (installed.checkout / "README.md").open("wb") as readme:
        for words in (["--offline", installed.wheelhouse], ["--uninstall"]):
            done = installed.install(*words)
            assert done.returncode == 69
            assert done.stderr == "install-edge: another install-edge is at work\n"
        readme.close()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert installed.version() == "2.0"


def test_a_name_is_said_as_it_is(machine: Machine) -> None:
    done = machine.install(r"no\n\c-1.whl")
    assert done.returncode == 66
    assert done.stderr == "install-edge: there is no file no\\n\\c-1.whl\n"


def test_a_strict_umask_does_not_shut_out_the_service(machine: Machine) -> None:
    for path in machine.checkout.rglob("*"):
        path.chmod(0o700 if path.is_dir() or path.name == "install-edge" else 0o600)
    done = machine.install(
        "-c", 'umask 077; exec "$0" "$@"', machine.script, "--offline", machine.wheelhouse, script="sh"
    )
    assert done.returncode == 0, done.stderr
    for folder in ("opt", "etc"):
        for path in (machine.folder / folder).rglob("*"):
            assert path.is_symlink() or path.stat().st_mode & 0o044 == 0o044, path


@pytest.mark.parametrize(("group", "code"), [("man", 0), ("audio", 77)])
def test_a_group_of_the_user_alone_is_as_good_as_the_user(installed: Machine, group: str, code: int) -> None:
    shutil.chown(_writable(installed.wheelhouse, 0o775), "man", group)  # a user of every Debian, with such a group
    program = 'SUDO_UID=$(id -u man) exec "$0" "$@"'
    done = installed.install("-c", program, installed.script, "--offline", installed.wheelhouse, script="sh")
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("part", ["install.sh", "wheelhouse.sh", "uninstall.sh"])
def test_no_part_of_it_runs_before_it_is_known_that_no_other_user_wrote_it(machine: Machine, part: str) -> None:
    path = _writable(machine.checkout / "scripts" / part, 0o666)
    path.write_text("echo the line of another user\nexit 0\n")
    for arguments in (["--offline", machine.wheelhouse], ["--uninstall"], ["--wheelhouse", machine.folder / "new"]):
        done = machine.install(*arguments)
        assert done.returncode == 77, done.stderr
        assert part in done.stderr
        assert done.stdout == ""
