"""This machine as scripts/install-edge sees it, with folders of its own in place of those the installer writes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from roots import REPOSITORY

PROGRAM = """
import sys
__version__ = "{version}"
def main():
    print("self_test" if "model" in sys.argv else "affectd {version}")
"""
PAGES = (
    "man/man1/affectd.1",
    "bash-completion/completions/affectd",
    "zsh/site-functions/_affectd",
    "fish/vendor_completions.d/affectd.fish",
)


class Machine:
    """This machine as the installer sees it: what it writes stays below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkout = folder / "the checkout"
        self.wheelhouse = folder / "wheels of mine"
        self.mounts: list[str] = []
        """Lines of shell that change what is mounted, before the installer starts."""
        for name in ("opt", "bin", "share/man", "etc", "work", "tmp", "no", "elsewhere"):
            (folder / name).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        shutil.copytree(REPOSITORY / "scripts", self.checkout / "scripts")
        (self.checkout / "README.md").write_text("read me")
        (self.checkout / "docs").mkdir()
        self.wheelhouse.mkdir()
        self.wheel("1.9", self.wheelhouse)
        self.list_wheels()

    def wheel(self, version: str, folder: Path) -> Path:
        """Make a wheel that the installer takes for affectd's, and that needs no other."""
        path = folder / f"affectd-{version}-py3-none-any.whl"
        about = f"affectd-{version}.dist-info"
        names = {
            "affectd/__init__.py": PROGRAM.format(version=version),
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: affectd\nVersion: {version}\n"
            "Provides-Extra: interpreter\nProvides-Extra: mqtt\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{about}/entry_points.txt": "[console_scripts]\naffectd = affectd:main\n",
        }
        for page in PAGES:
            names[f"affectd-{version}.data/data/share/{page}"] = f"{page} of {version}"
        names[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*names, f"{about}/RECORD"])
        with zipfile.ZipFile(path, "w") as file:
            for name, text in names.items():
                file.writestr(zipfile.ZipInfo(name), text)  # the same bytes every time
        return path

    def list_wheels(self) -> None:
        subprocess.run("sha256sum *.whl >SHA256SUMS", shell=True, cwd=self.wheelhouse, check=True)

    def command(self, *words: str | Path, script: str | Path = "", **variables: str) -> list[str]:
        mounts = [
            f"mount -t overlay overlay -o 'lowerdir=/etc,upperdir={self.folder}/etc,workdir={self.folder}/work' /etc",
            f"mount --bind '{self.folder}/opt' /opt",
            f"mount --bind '{self.folder}/bin' /usr/local/bin",
            f"mount --bind '{self.folder}/share' /usr/local/share",
            f"mount --bind '{self.folder}/tmp' /var/tmp",
            *self.mounts,
            # As where systemd is not running.
            f"if [ -d /run/systemd ]; then mount --bind '{self.folder}/no' /run/systemd; fi",
            'exec /usr/bin/env -i "$@"',
        ]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **variables}
        started = [*(f"{name}={value}" for name, value in environment.items()), script or self.script, *words]
        return ["unshare", "--mount", "--net", "/bin/sh", "-euc", "\n".join(mounts), "sh", *map(str, started)]

    def install(
        self, *words: str | Path, script: str | Path = "", cwd: str | Path = "/", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = self.command(*words, script=script, **variables)
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=120)

    @property
    def script(self) -> Path:
        return self.checkout / "scripts/install-edge"

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start an installation that waits where it reads the README, with the new version nearly complete."""
        (self.checkout / "README.md").unlink()
        os.mkfifo(self.checkout / "README.md")
        return subprocess.Popen(self.command(*words), start_new_session=True, stderr=subprocess.PIPE)

    def version(self) -> str:
        link = os.readlink(self.folder / "opt/affectd/current")
        return link.removeprefix("releases/").rpartition(".")[0]

    def leftovers(self) -> list[str]:
        """What an installation that is complete does not leave."""
        current = os.path.basename(os.readlink(self.folder / "opt/affectd/current"))
        releases = [path for path in (self.folder / "opt/affectd/releases").iterdir() if path.name != current]
        new = [path for name in ("opt", "etc", "bin", "share") for path in (self.folder / name).rglob("*.new")]
        return [path.name for path in [*(self.folder / "tmp").iterdir(), *releases, *new]]
