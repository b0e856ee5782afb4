"""scripts/install-edge in the roots of the systems it is for (roots.py), those of ARM under qemu."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from affectd.events.event import event_schema
from roots import REPOSITORY, Device, bootstrap

SETTINGS = "etc/affectd/affectd.toml"
RASPBIAN = """\
PRETTY_NAME="Raspbian GNU/Linux {version} ({suite})"
NAME="Raspbian GNU/Linux"
VERSION_ID="{version}"
VERSION="{version} ({suite})"
VERSION_CODENAME={suite}
ID=raspbian
ID_LIKE=debian
"""
# Raspberry Pi OS has a 64-bit kernel below its 32-bit system on every board that can run one, and says so.
KERNEL = """
import os
_told = os.uname()
os.uname = lambda: os.uname_result((*_told[:4], "{kernel}"))
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class System:
    suite: str
    architecture: str = ""
    kernel: str = ""
    """What `uname -m` says, if it is not the obvious."""
    runtime: str = "ai-edge-litert"
    version: str = "12"

    def bare(self, folder: Path) -> Device:
        """A device as it comes: Raspberry Pi OS has Python, the others have not even that."""
        packages = "systemd,python3" if self.architecture else "systemd"
        root = bootstrap(self.suite, self.architecture, packages=packages)
        device = Device([root], folder, architecture=self.architecture)
        if self.architecture:
            # What Raspberry Pi OS adds to Debian, but for its archive: packages of the other ARM may be installed.
            device.output("dpkg", "--add-architecture", "armhf" if self.architecture == "arm64" else "arm64")
        if self.architecture == "armhf":
            device.write("usr/lib/os-release", RASPBIAN.format(version=self.version, suite=self.suite))
        if self.kernel:
            device.write("etc/python3.11/sitecustomize.py", KERNEL.format(kernel=self.kernel))
        return device


SYSTEMS = {
    "debian-12": System("bookworm"),
    "debian-13": System("trixie"),
    "ubuntu-24.04": System("noble"),
    "raspberry-pi-os-12": System("bookworm", "arm64"),
    "raspberry-pi-os-13": System("trixie", "arm64"),
    "raspberry-pi-os-12-32-bit": System("bookworm", "armhf", runtime="tflite-runtime"),
    "raspberry-pi-os-12-32-bit-on-64-bit": System("bookworm", "armhf", "aarch64", runtime="tflite-runtime"),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


@pytest.fixture(scope="module")
def bare(system: System, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return system.bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def refused(bare: Device, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """The device after an installation that came as far as it could without affectd: it has the system packages."""
    device = bare.on_top(tmp_path_factory.mktemp("refused"))
    device.write("srv/affectd-99.9-py3-none-any.whl", "this is no wheel")
    done = device.install("/srv/affectd-99.9-py3-none-any.whl", network=True)
    assert done.returncode == 69, done.stderr
    assert "pip could not install affectd 99.9" in done.stderr
    return device


@pytest.fixture(scope="module")
def newcomer(refused: Device, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """The device with affectd, from the network."""
    device = refused.on_top(tmp_path_factory.mktemp("newcomer"))
    done = device.install(network=True)
    assert done.returncode == 0, done.stderr
    assert "installed: systemd is not running here, so it starts with the next boot" in done.stderr
    return device


class TestEverySystem:
    def test_a_bare_system_gets_everything_and_no_compiler(self, system: System, newcomer: Device) -> None:
        assert newcomer.self_test()
        description = json.loads(newcomer.output("/usr/local/bin/affectd", "model", "--self-test"))
        assert description["runtime"].split()[0] == system.runtime
        where = newcomer.output("/opt/affectd/current/bin/python", "-c", "import pyaudio; print(pyaudio.__file__)")
        assert "dist-packages" in where
        assert newcomer.run("sh", "-c", "command -v gcc").returncode != 0
        assert newcomer.run("systemctl", "is-enabled", "affectd.service").stdout == "enabled\n"
        assert newcomer.output("stat", "-c", "%a", "/opt/affectd/current/", f"/{SETTINGS}").split() == ["755", "644"]

    def test_man_and_shells_find_its_pages(self, newcomer: Device) -> None:
        for page in ("man/man1/affectd.1", "bash-completion/completions/affectd", "zsh/site-functions/_affectd"):
            assert newcomer.output("cat", f"/usr/local/share/{page}") == (REPOSITORY / "share" / page).read_text()

    def test_it_can_speak_mqtt(self, newcomer: Device) -> None:
        program = "import paho.mqtt.client; print(paho.mqtt.client.__file__)"
        where = newcomer.output("/opt/affectd/current/bin/python", "-c", program)
        assert where.startswith("/opt/affectd/"), "the system's own changes with every apt-get upgrade"
        # It gets as far as the network, of which there is none.
        settings = ["env", "AFFECTD_MQTT_ENABLED=true", "AFFECTD_MQTT_HOST=127.0.0.1"]
        done = newcomer.run(*settings, "/usr/local/bin/affectd", "forget")
        assert done.returncode == 69
        assert "no connection to the broker 127.0.0.1:1883" in done.stderr

    def test_a_recording_gives_events(self, newcomer: Device) -> None:
        lines = newcomer.output("/usr/local/bin/affectd", "run", "--source", "/checkout/tests/data/demo.wav")
        events = [json.loads(line) for line in lines.splitlines()]
        for event in events:
            jsonschema.Draft202012Validator(event_schema()).validate(event)
        phases = [event["phase"] for event in events if event["type"] == "emotion"]
        assert phases[0] == "start"
        assert phases[-1] == "end"

    def test_a_second_run_from_the_network_changes_nothing(self, newcomer: Device, tmp_path: Path) -> None:
        device = newcomer.on_top(tmp_path / "again")
        before = device.tree(times=True)
        done = device.install(network=True)
        assert done.returncode == 0, done.stderr
        assert "nothing to do" in done.stderr
        assert device.tree(times=True) == before

    def test_uninstalling_leaves_what_was_there_before(self, refused: Device, newcomer: Device, tmp_path: Path) -> None:
        device = newcomer.on_top(tmp_path / "uninstalled")
        assert device.tree() != refused.tree()
        done = device.install("--uninstall")
        assert done.returncode == 0, done.stderr
        assert device.tree() == refused.tree()


def test_a_raspberry_pi_os_without_an_interpreter_is_told_so(tmp_path: Path) -> None:
    device = System("trixie", "armhf", version="13").bare(tmp_path / "device")
    before = device.tree(times=True)
    done = device.install(network=True)
    assert done.returncode == 69
    (line,) = done.stderr.splitlines()
    assert line.startswith("install-edge: there is no TFLite interpreter for 32-bit ARM and Python 3.13: use a 64-bit")
    assert device.tree(times=True) == before


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
        # No shell traps what was ignored when it began, as SIGINT is in whatever a script starts with "&".
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
