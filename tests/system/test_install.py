"""scripts/install-edge in the roots of the systems it is for: real packages, real wheels, no mocks.

A root is made once by debootstrap, kept in $AFFECTD_ROOTS (default /var/tmp/affectd-roots), and never written to:
every test works in an overlay. Needs root, debootstrap, and the mirrors of Debian, Ubuntu and PyPI.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = Path(os.environ.get("AFFECTD_ROOTS", "/var/tmp/affectd-roots"))
DEBIAN = "http://deb.debian.org/debian"
UBUNTU = "http://archive.ubuntu.com/ubuntu"
UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
SETTINGS = "etc/affectd/affectd.toml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting and changing root need root"),
    pytest.mark.skipif(not shutil.which("debootstrap"), reason="debootstrap is not installed"),
]


def bootstrap(suite: str) -> Path:
    """The smallest root of this suite that has systemd, as every device has."""
    root = ROOTS / f"install-{suite}"
    if root.is_dir():
        return root
    mirror: list[str | Path] = [DEBIAN]
    options = ["--variant=minbase", "--include=systemd"]
    if suite == "noble":
        if not UBUNTU_KEYRING.is_file():
            pytest.skip(f"cannot verify Ubuntu's packages without {UBUNTU_KEYRING} (package ubuntu-keyring)")
        options += ["--components=main,universe", f"--keyring={UBUNTU_KEYRING}"]
        mirror = [UBUNTU, "/usr/share/debootstrap/scripts/gutsy"]  # what debootstrap uses for every Ubuntu
    unfinished = ROOTS / f"install-{suite}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        subprocess.run(["debootstrap", *options, suite, unfinished, *mirror], check=True, capture_output=True)
        # pip in the root is to trust the hosts that this machine trusts, such as a proxy.
        trusted = ssl.get_default_verify_paths().cafile
        if trusted:
            shutil.copy(trusted, unfinished / "trusted.pem")
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


@dataclass
class Device:
    """A root with an overlay of its own: what a test writes is in `upper`."""

    layers: list[Path]
    folder: Path
    shared: dict[str, Path] = field(default_factory=dict)
    """Folders outside that it sees, read-only: path inside -> path outside."""

    def __post_init__(self) -> None:
        self.upper = self.folder / "upper"
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        (self.upper / "etc").mkdir()
        shutil.copy("/etc/resolv.conf", self.upper / "etc" / "resolv.conf")
        self.shared = {"/checkout": REPOSITORY, **self.shared}

    def command(self, *words: str, network: bool = False) -> list[str]:
        """The command line that runs these words in the root; its mounts end with it."""
        root = self.folder / "root"
        lower = ":".join(map(str, reversed(self.layers)))
        steps = [
            f"mount -t overlay overlay -o lowerdir={lower},upperdir={self.upper},workdir={self.folder}/work {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
        ]
        for inside, outside in self.shared.items():
            steps += [
                f"mkdir -p {root}{inside}",
                f"mount --bind {shlex.quote(str(outside))} {root}{inside}",
                f"mount -o remount,bind,ro {root}{inside}",
            ]
        environment = "PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PIP_CERT=/trusted.pem"
        steps.append(f'exec chroot {root} env -i {environment} "$@"')
        namespaces = ["--mount"] if network else ["--mount", "--net"]
        return ["unshare", *namespaces, "sh", "-euc", "\n".join(steps), "sh", *words]

    def run(self, *words: str, network: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words, network=network), capture_output=True, text=True, check=False)

    def output(self, *words: str, network: bool = False) -> str:
        done = self.run(*words, network=network)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *words: str, network: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run("/checkout/scripts/install-edge", *words, network=network)

    def self_test(self) -> str:
        """The version of the command that people call, after its self-test."""
        assert '"self_test"' in self.output("/usr/local/bin/affectd", "model", "--self-test")
        return self.output("/usr/local/bin/affectd", "--version").split()[-1]

    def tree(self, *, times: bool = False) -> dict[str, str]:
        """Every path with its kind, mode, owner, target and content; with the time files were changed, if asked."""
        entries = self.output("find", "/", "-xdev", "-printf", r"%p\t%y %m %U %G %l %T@\n")
        tree = {}
        for line in entries.splitlines():
            path, about = line.split("\t")
            about, time = about.rsplit(" ", 1)
            tree[path] = f"{about} {time}" if times and not about.startswith("d") else about
        digests = self.output("sh", "-c", "find / -xdev -type f -exec sha256sum --zero {} +")
        for line in digests.removesuffix("\0").split("\0"):
            digest, path = line.split("  ", 1)
            tree[path] += f" {digest}"
        return tree

    def write(self, path: str, text: str) -> None:
        file = self.upper / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The layers of a Debian 12 that has the system packages, but not affectd."""
    device = Device([bootstrap("bookworm")], tmp_path_factory.mktemp("packages"))
    device.output("/checkout/scripts/system-packages", "python3-venv", "python3-pyaudio", network=True)
    return [*device.layers, device.upper]


@pytest.fixture(scope="module")
def wheelhouse(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that install-edge makes for devices without a network."""
    device = Device(packages, tmp_path_factory.mktemp("collecting"))
    done = device.install("--wheelhouse", "/srv/wheels of mine", network=True)
    assert done.returncode == 0, done.stderr
    return device.upper / "srv" / "wheels of mine"


@pytest.fixture
def device(packages: list[Path], wheelhouse: Path, wheels: Path, tmp_path: Path) -> Device:
    """A Debian 12 with the system packages and without any network."""
    return Device(packages, tmp_path / "device", {"/wheelhouse": wheelhouse, "/wheels": wheels})


@pytest.fixture(scope="module")
def installed_layers(packages: list[Path], wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    device = Device(packages, tmp_path_factory.mktemp("installed"), {"/wheelhouse": wheelhouse})
    done = device.install("--offline", "/wheelhouse")
    assert done.returncode == 0, done.stderr
    return [*packages, device.upper]


@pytest.fixture
def installed(installed_layers: list[Path], wheelhouse: Path, wheels: Path, tmp_path: Path) -> Device:
    """The same with affectd on it."""
    return Device(installed_layers, tmp_path / "installed", {"/wheelhouse": wheelhouse, "/wheels": wheels})


@pytest.fixture(scope="module")
def wheels(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with later versions: 99.1 as it should be, 99.2 with one byte of its model damaged."""
    folder = tmp_path_factory.mktemp("wheels")
    (original,) = wheelhouse.glob("affectd-*.whl")
    version = original.name.split("-")[1]
    for later, damaged in (("99.1", False), ("99.2", True)):
        with (
            zipfile.ZipFile(original) as source,
            zipfile.ZipFile(folder / original.name.replace(version, later), "w", zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                content = source.read(name)
                if name.endswith("METADATA"):
                    content = content.replace(f"\nVersion: {version}\n".encode(), f"\nVersion: {later}\n".encode())
                if name == "affectd/__init__.py":
                    content = content.replace(f'"{version}"'.encode(), f'"{later}"'.encode())
                if damaged and name == "affectd/affectd.tflite":
                    content = content[:10000] + bytes([content[10000] ^ 1]) + content[10001:]
                target.writestr(name.replace(f"affectd-{version}.", f"affectd-{later}."), content)
    return folder


def later(version: str) -> str:
    return f"/wheels/affectd-{version}-py3-none-any.whl"


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "noble"])
def test_a_bare_system_gets_everything_and_no_compiler(suite: str, tmp_path: Path) -> None:
    device = Device([bootstrap(suite)], tmp_path / "device")
    done = device.install(network=True)
    assert done.returncode == 0, done.stderr
    assert device.self_test()
    assert "dist-packages" in device.output("/opt/affectd/bin/python", "-c", "import pyaudio; print(pyaudio.__file__)")
    assert device.run("sh", "-c", "command -v gcc").returncode != 0
    assert device.run("systemctl", "is-enabled", "affectd.service").stdout == "enabled\n"
    assert device.output("stat", "-c", "%a", "/opt/affectd/current/", f"/{SETTINGS}").split() == ["755", "644"]


def test_a_bare_system_without_a_network_is_served_by_the_wheelhouse(wheelhouse: Path, tmp_path: Path) -> None:
    device = Device([bootstrap("bookworm")], tmp_path / "device", {"/wheelhouse": wheelhouse})
    done = device.install("--offline", "/wheelhouse")
    assert done.returncode == 0, done.stderr
    assert device.self_test()


def test_a_second_run_changes_nothing(installed: Device) -> None:
    before = installed.tree(times=True)
    done = installed.install("--offline", "/wheelhouse")
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert installed.tree(times=True) == before


def test_a_damaged_installation_is_mended_by_a_second_run(installed: Device) -> None:
    (broken,) = installed.output("sh", "-c", "echo /opt/affectd/current/lib/python*/site-packages/numpy").split()
    installed.output("rm", "-r", broken)
    done = installed.install("--offline", "/wheelhouse")
    assert done.returncode == 0, done.stderr
    assert installed.self_test()


def test_an_upgrade_keeps_the_settings_and_removes_the_old_version(installed: Device) -> None:
    installed.write(SETTINGS, '[device]\nid = "kiosk-7"\n')
    done = installed.install(later("99.1"), "--offline", "/wheelhouse")
    assert done.returncode == 0, done.stderr
    assert installed.self_test() == "99.1"
    assert 'id = "kiosk-7"' in installed.output("cat", f"/{SETTINGS}")
    assert re.fullmatch(r"99\.1\.\w+\n", installed.output("ls", "/opt/affectd/releases"))


def test_a_version_that_fails_its_self_test_is_rolled_back(installed: Device) -> None:
    before = installed.tree(times=True)
    version = installed.self_test()
    done = installed.install(later("99.2"), "--offline", "/wheelhouse")
    assert done.returncode == 78
    assert f"affectd 99.2 fails its self-test on this device: rolled back, affectd {version} stays" in done.stderr
    assert installed.tree(times=True) == before


def test_a_version_that_refuses_the_settings_is_rolled_back(installed: Device) -> None:
    installed.write(SETTINGS, '[device]\nidd = "kiosk-7"\n')
    before = installed.tree(times=True)
    done = installed.install(later("99.1"), "--offline", "/wheelhouse")
    assert done.returncode == 78
    assert "idd" in done.stderr
    assert f"affectd 99.1 refuses the settings in /{SETTINGS}: rolled back" in done.stderr
    assert installed.tree(times=True) == before


def test_a_first_installation_that_fails_leaves_nothing(device: Device) -> None:
    before = device.tree()
    done = device.install(later("99.2"), "--offline", "/wheelhouse")
    assert done.returncode == 78
    assert "nothing was installed" in done.stderr
    assert device.tree() == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_upgrade_leaves_what_was_there(installed: Device, sent: signal.Signals, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "scripts", checkout / "scripts")
    # The installer reads this file late, when the new version is nearly complete, and now it has to wait there.
    os.mkfifo(checkout / "README.md")
    installed.shared["/checkout"] = checkout
    before = installed.tree(times=True)
    process = subprocess.Popen(
        installed.command("/checkout/scripts/install-edge", later("99.1"), "--offline", "/wheelhouse"),
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    with process, (checkout / "README.md").open("wb"):  # opens when the installer has come there
        os.killpg(process.pid, sent)  # the whole group, as Ctrl-C does
        process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    assert installed.tree(times=True) == before


def test_uninstalling_leaves_no_file(device: Device) -> None:
    before = device.tree()
    assert device.install("--offline", "/wheelhouse").returncode == 0
    done = device.install("--uninstall")
    assert done.returncode == 0, done.stderr
    assert device.tree() == before


def test_uninstalling_keeps_what_people_made_until_told_to_purge(device: Device) -> None:
    before = device.tree()
    assert device.install("--offline", "/wheelhouse").returncode == 0
    device.write(SETTINGS, '[device]\nid = "kiosk-7"\n')
    device.write("etc/systemd/system/affectd.service.d/override.conf", "[Service]\nMemoryMax=1G\n")
    device.output("sh", "-c", "mkdir /var/lib/private/affectd && touch /var/lib/private/affectd/outbox")
    done = device.install("--uninstall")
    assert done.returncode == 0, done.stderr
    for kept in ("/etc/affectd", "/etc/systemd/system/affectd.service.d", "/var/lib/private/affectd"):
        assert kept in done.stderr
    assert not device.run("ls", "/opt/affectd", "/usr/local/bin/affectd").stdout
    assert 'id = "kiosk-7"' in device.output("cat", f"/{SETTINGS}")
    done = device.install("--uninstall", "--purge")
    assert done.returncode == 0, done.stderr
    assert device.tree() == before


def test_a_system_without_an_interpreter_is_told_so(installed: Device) -> None:
    # 32-bit ARM with Python 3.13 in two lines: what the installer asks the system for, answered so.
    for program, answer in (("dpkg", "armhf"), ("python3", "3.13")):
        installed.write("srv/answer", f"#!/bin/sh\necho {answer}\n")
        installed.output("sh", "-c", f"chmod 755 /srv/answer && mv -f /srv/answer /usr/bin/{program}")
    done = installed.install()
    assert done.returncode == 69
    assert "no TFLite interpreter for 32-bit ARM and Python 3.13" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--offline"], 64),
        (["--purge"], 64),
        (["--frobnicate"], 64),
        (["/nowhere/affectd-1-py3-none-any.whl"], 66),
        (["--offline", "/nowhere"], 66),
    ],
)
def test_wrong_use_is_one_sentence_and_changes_nothing(installed: Device, words: list[str], code: int) -> None:
    before = installed.tree()
    done = installed.install(*words)
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith("install-edge: ")
    assert installed.tree() == before
