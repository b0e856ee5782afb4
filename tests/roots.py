"""Roots of the systems that affectd is for, and devices that run in them: real packages, real wheels, no mocks.

A root is made once by debootstrap, kept in $AFFECTD_ROOTS (default /var/tmp/affectd-roots), and never written to:
every device works in an overlay. Roots of ARM systems run under qemu. Needs root, the mirrors of Debian, Ubuntu and
PyPI, and: apt install debootstrap qemu-user-static; for Ubuntu's also ubuntu-keyring, which Debian has from 13 on.
"""

from __future__ import annotations

import os
import shlex
import shutil
import ssl
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from affectd_train.stored import locked

REPOSITORY = Path(__file__).parents[1]
ROOTS = Path(os.environ.get("AFFECTD_ROOTS", "/var/tmp/affectd-roots"))
DEBIAN = "http://deb.debian.org/debian"
UBUNTU = "http://archive.ubuntu.com/ubuntu"
UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
SYSTEMD_BINFMT = "/usr/lib/systemd/systemd-binfmt"
QEMU = {"arm64": "aarch64", "armhf": "arm"}
"""What qemu calls the processors of Debian's architectures."""


def bootstrap(suite: str, architecture: str = "", *, purpose: str = "install", packages: str = "systemd") -> Path:
    """Return the smallest root of this suite that has these packages, made on first use.

    Without an architecture it is this machine's. What is missing for it here skips the test.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting and changing root need root")
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is not installed")
    if architecture:
        _need_emulation(architecture)
    name = "-".join(filter(None, (purpose, suite, architecture)))
    root = ROOTS / name
    ROOTS.mkdir(parents=True, exist_ok=True)
    with locked(root):
        if not root.is_dir():
            _make(root, suite, architecture, packages)
    return root


def _make(root: Path, suite: str, architecture: str, packages: str) -> None:
    mirror: list[str | Path] = [DEBIAN]
    options = ["--variant=minbase", f"--include={packages}"]
    if architecture:
        options.append(f"--arch={architecture}")
    if suite == "noble":
        if not UBUNTU_KEYRING.is_file():
            pytest.skip(f"cannot verify Ubuntu's packages without {UBUNTU_KEYRING} (package ubuntu-keyring)")
        options += ["--components=main,universe", f"--keyring={UBUNTU_KEYRING}"]
        mirror = [UBUNTU, "/usr/share/debootstrap/scripts/gutsy"]  # what debootstrap uses for every Ubuntu
    unfinished = ROOTS / f"{root.name}.{os.getpid()}"
    unfinished.mkdir()
    try:
        done = run("debootstrap", *options, suite, unfinished, *mirror)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        # pip in the root is to trust the hosts that this machine trusts, such as a proxy.
        trusted = ssl.get_default_verify_paths().cafile
        if trusted:
            shutil.copy(trusted, unfinished / "trusted.pem")
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _need_emulation(architecture: str) -> None:
    """Let the kernel start programs of this processor with qemu, or skip."""
    qemu = QEMU[architecture]
    entry = BINFMT / f"qemu-{qemu}"
    if not entry.exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
        # One of the two is what a start of the system does: of Debian 12, and of those after it.
        run("sh", "-c", f"update-binfmts --enable {entry.name} || {SYSTEMD_BINFMT} {entry.name}.conf")
    if not entry.exists():
        pytest.skip(f"{architecture} programs do not run here without qemu-user-static, on Debian 12 binfmt-support")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


@dataclass
class Device:
    """A root with an overlay of its own: what a test writes is in `upper`."""

    layers: list[Path]
    folder: Path
    shared: dict[str, Path] = field(default_factory=dict)
    """Folders outside that it sees, read-only: path inside -> path outside."""
    architecture: str = ""
    """As for `bootstrap`."""

    def __post_init__(self) -> None:
        self.upper = self.folder / "upper"
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        (self.upper / "etc").mkdir()
        shutil.copy("/etc/resolv.conf", self.upper / "etc" / "resolv.conf")
        self.shared = {"/checkout": REPOSITORY, **self.shared}

    def on_top(self, folder: Path) -> Device:
        """The same device as it is now, in an overlay of its own."""
        return Device([*self.layers, self.upper], folder, self.shared, self.architecture)

    def command(self, *words: str, network: bool = False) -> list[str]:
        """The command line that runs these words in the root; its mounts end with it."""
        root = self.folder / "root"
        steps = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        for inside, outside in self.shared.items():
            steps += [
                f"mount --bind {shlex.quote(str(outside))} {root}{inside}",
                f"mount -o remount,bind,ro {root}{inside}",
            ]
        environment = "PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PIP_CERT=/trusted.pem"
        if self.architecture == "arm64":
            # The processor of a Raspberry Pi 5. On qemu 7.2's default one, which has SVE, every product of
            # float32 matrices in NumPy 2.5 is wrong.
            environment += " QEMU_CPU=cortex-a76"
        steps.append(f'exec env -i {environment} chroot {root} "$@"')
        return self._mounted(steps, words, ["--mount"] if network else ["--mount", "--net"])

    def _mounted(self, steps: Iterable[str], words: Iterable[str], namespaces: Iterable[str]) -> list[str]:
        lower = ":".join(map(str, reversed(self.layers)))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self.folder}/work"
        mount = [f"mount -t overlay overlay -o {options} {self.folder}/root"]
        mount += [f"mkdir -p {self.folder}/root{inside}" for inside in self.shared]
        script = "\n".join([*mount, *steps])
        return ["unshare", *namespaces, "sh", "-euc", script, "sh", *words]

    def run(self, *words: str, network: bool = False) -> subprocess.CompletedProcess[str]:
        return run(*self.command(*words, network=network))

    def output(self, *words: str, network: bool = False) -> str:
        done = self.run(*words, network=network)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout

    def install(self, *words: str, network: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run("/checkout/scripts/install-edge", *words, network=network)

    def self_test(self) -> str:
        """The version of the command that people call, after its self-test."""
        assert '"self_test"' in self.output("/usr/local/bin/affectd", "model", "--self-test")
        return self.output("/usr/local/bin/affectd", "--version").split()[-1]

    def tree(self, *, times: bool = False) -> set[str]:
        """Every path with its kind, mode, owner, target and content; with the time files were changed, if asked."""
        entries = self._look("find", ".", "-xdev", "-printf", r"%p\t%y %m %U %G %l %T@\n")
        tree = {}
        for line in entries.splitlines():
            path, about = line.split("\t")
            about, time = about.rsplit(" ", 1)
            tree[path] = f"{about} {time}" if times and not about.startswith("d") else about
        digests = self._look("find", ".", "-xdev", "-type", "f", "-exec", "sha256sum", "--zero", "{}", "+")
        for line in digests.removesuffix("\0").split("\0"):
            digest, path = line.split("  ", 1)
            tree[path] += f" {digest}"
        return {f"{path} {about}" for path, about in tree.items()}

    def _look(self, *words: str) -> str:
        """What a program of this machine, not of the device, says there."""
        done = run(*self._mounted([f'cd {self.folder}/root && exec "$@"'], words, ["--mount"]))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, path: str, text: str) -> None:
        file = self.upper / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
