"""The unit in a Debian 12 booted by its own systemd, with a sound server in place of a sound card.

systemd-nspawn boots it in an overlay over a root (roots.py). The machine outside need not run systemd itself: a
cgroup2 hierarchy, mounted where only nspawn sees it, is enough. The limits of memory and tasks are then enforced only
if cgroup2 has those controllers. The network is that of the machine outside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jsonschema
import pytest

from affectd.events.event import event_schema
from affectd.recognition.model_file import model_id, write_model
from broker import Subscriber, free_port, wait_until
from fleet import FLEET, TOPIC, Files, Signer
from roots import REPOSITORY, bootstrap
from tiny_model import DATA, tiny_model

UNIT = REPOSITORY / "scripts" / "affectd.service"
PACKAGES = "systemd,systemd-sysv,dbus,python3-venv,python3-pyaudio,libasound2-plugins,pulseaudio,pulseaudio-utils"
SETTINGS = "/etc/affectd/affectd.toml"
PASSWORD = "/etc/affectd/mqtt_password"
PATIENCE_SECONDS = 120

BOOT = """
mount -t overlay overlay -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work $2/root
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/$3
echo $$ >/sys/fs/cgroup/$3/cgroup.procs
# nspawn would forbid to ask for the state of the clock; setting it stays forbidden.
SYSTEMD_SECCOMP=0 exec systemd-nspawn --quiet --boot --directory=$2/root --machine=$3 --register=no --keep-unit \
    --console=pipe --bind-ro=$4:/checkout
"""
# A sink without a loudspeaker, in real time; its monitor is the microphone.
ROOM = """
[Service]
Type=notify
User=pulse
RuntimeDirectory=pulse room
Environment=HOME=/run/pulse PULSE_RUNTIME_PATH=/run/pulse
ExecStart=pulseaudio -n --exit-idle-time=-1 --daemonize=no --load="module-null-sink sink_name=room rate=48000" \
    --load="module-native-protocol-unix auth-anonymous=1 socket=/run/room/native"
"""
SPEECH = """
[Unit]
Requires=room.service
After=room.service
[Service]
Environment=PULSE_SERVER=unix:/run/room/native HOME=/run
ExecStart=sh -c 'while :; do paplay /checkout/tests/data/demo.wav; done'
"""
CARD = """
pcm.!default { type pulse server "unix:/run/room/native" hint { show on description "the room" } }
"""
# One door for the device, and one to look in from outside.
BROKER = """
per_listener_settings true
user root
listener {port} 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
listener {observer_port} 127.0.0.1
allow_anonymous true
"""
MQTT = """
[device]
id = "kiosk"
[mqtt]
enabled = true
host = "127.0.0.1"
port = {port}
username = "pi"
retry_seconds = 1
"""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_exposes_as_little_as_the_documents_say() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for affectd.service: ([\d.]+)", answer.stdout)
    assert found, answer.stdout + answer.stderr
    (said,) = re.findall(r"rates it ([\d.]+) \(of 10", (REPOSITORY / "docs" / "installation.md").read_text())
    assert float(found[1]) <= float(said) <= 1.5, answer.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name  # as installed, but with a program that exists here
    copy.write_text(UNIT.read_text().replace("/opt/affectd/bin/affectd", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


class Machine:
    """A booted Debian."""

    before: set[str]
    """Its files before affectd was installed."""
    port: int
    """Where its broker asks for a password."""
    observer_port: int

    def __init__(self, root: Path, folder: Path) -> None:
        for name in ("upper", "work", "root"):
            (folder / name).mkdir()
        self._name = f"affectd-{os.getpid()}"
        self._log = (folder / "console").open("wb")
        self._nspawn = subprocess.Popen(
            ["unshare", "--mount", "sh", "-euc", BOOT, "sh", root, folder, self._name, REPOSITORY],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        while self._nspawn.poll() is None and not self._is_up(children):
            pass
        if self._nspawn.poll() is not None:
            console = (folder / "console").read_text()
            self.halt()
            pytest.skip(f"systemd-nspawn boots nothing here: {console}")

    def _is_up(self, children: Path) -> bool:
        pids = children.read_text().split()
        if not pids:
            return False
        self._leader = pids[0]
        return self("systemctl", "is-system-running", "--wait").stdout.strip() in ("running", "degraded")

    def _inside(self, *words: str) -> list[str]:
        environment = ["env", "-i", "HOME=/root", "PATH=/usr/local/bin:/usr/sbin:/usr/bin", "PIP_CERT=/trusted.pem"]
        return ["nsenter", "--target", self._leader, "--all", *environment, *words]

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._inside(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=10 * PATIENCE_SECONDS,
            check=False,
        )

    def output(self, *words: str, stdin: str = "") -> str:
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        self.output("sh", "-c", 'mkdir -p "${1%/*}" && cat >"$1"', "sh", path, stdin=text)

    def files(self) -> set[str]:
        """Everything on disk but what systemd, the journal and apt keep for themselves."""
        own = " -o ".join(f"-path {path}" for path in ("/var/log", "/var/cache", "/var/lib/systemd", "/tmp", "/run"))
        return set(self.output("sh", "-c", rf"find / -xdev \( {own} \) -prune -o -print").splitlines())

    def show(self, name: str) -> str:
        return self.output("systemctl", "show", "--value", "--property", name, "affectd.service")

    def signal(self, name: str, unit: str = "affectd") -> None:
        self.output("systemctl", "kill", f"--signal={name}", "--kill-whom=main", unit)

    def cursor(self) -> str:
        """The end of the journal."""
        return self.output("journalctl", "--lines=0", "--show-cursor", "--quiet").removeprefix("-- cursor: ")

    def journal_until(self, cursor: str, wanted: Callable[[str], object]) -> list[str]:
        """What the unit, or systemd about it, said since then, up to the first line that is wanted."""
        lines: list[str] = []
        follow = ["journalctl", "--follow", "--output=cat", "--lines=all", f"--after-cursor={cursor}"]
        command = ["timeout", str(PATIENCE_SECONDS), *follow, "--unit=affectd.service"]
        with subprocess.Popen(
            self._inside(*command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if wanted(lines[-1]):
                    process.terminate()
                    return lines
        pytest.fail("\n".join(["not in the journal:", *lines]))

    def halt(self) -> None:
        self._nspawn.terminate()
        try:
            self._nspawn.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()
        remove = "mount -t cgroup2 none /sys/fs/cgroup; find /sys/fs/cgroup/$1 -depth -type d -exec rmdir {} +"
        subprocess.run(["unshare", "--mount", "sh", "-c", remove, "sh", self._name], capture_output=True, check=False)


@pytest.fixture(scope="session")
def debian() -> Path:
    if not shutil.which("systemd-nspawn"):
        pytest.skip("systemd-nspawn is not installed (apt install systemd-container)")
    return bootstrap("bookworm", purpose="booted", packages=PACKAGES)


@pytest.fixture(scope="module")
def machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian with affectd as install-edge leaves it, a voice, and a broker that asks who is there."""
    machine = Machine(debian, tmp_path_factory.mktemp("machine"))
    try:
        machine.write("/etc/asound.conf", CARD)
        machine.write("/etc/systemd/system/room.service", ROOM)
        machine.write("/etc/systemd/system/speech.service", SPEECH)
        machine.output("systemctl", "daemon-reload")
        machine.output("systemctl", "start", "speech")
        # It is started below, not by its installation: another program may be at its usual port.
        machine.output("systemctl", "mask", "mosquitto.service")
        machine.output("/checkout/scripts/system-packages", "python3-venv", "python3-pyaudio", "mosquitto", "openssl")
        machine.port, machine.observer_port = free_port(), free_port()
        settings = BROKER.format(port=machine.port, observer_port=machine.observer_port)
        machine.write("/etc/mosquitto/kiosk.conf", settings)
        machine.output("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/passwords", "pi", "open sesame")
        machine.output("systemd-run", "--unit=broker", "mosquitto", "-c", "/etc/mosquitto/kiosk.conf")
        machine.before = machine.files()
        machine.output("/checkout/scripts/install-edge")
        yield machine
    finally:
        machine.halt()


@pytest.fixture
def unit(machine: Machine) -> Iterator[Machine]:
    """The unit, running on its default settings; who speaks, speaks."""
    machine.write(SETTINGS, "")
    machine.output("systemctl", "start", "speech", "affectd")
    yield machine
    machine.output("systemctl", "stop", "affectd")


def speak_mqtt(unit: Machine) -> None:
    """Let the unit log in to its broker, from its next start."""
    unit.write(SETTINGS, MQTT.format(port=unit.port))
    unit.write(PASSWORD, "open sesame\n")
    unit.output("chmod", "600", PASSWORD)
    assert unit.output("stat", "-c", "%a %U", PASSWORD) == "600 root"


def event(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    found: dict[str, object] = json.loads(line)
    jsonschema.Draft202012Validator(event_schema()).validate(found)
    return found


def is_event(**wanted: object) -> Callable[[str], bool]:
    return lambda line: (found := event(line)) is not None and wanted.items() <= found.items()


def said_next(unit: Machine) -> object:
    """The label of the next utterance that begins."""
    last = event(unit.journal_until(unit.cursor(), is_event(type="emotion", phase="start"))[-1])
    assert last is not None
    return last["label"]


@pytest.mark.slow
def test_it_is_ready_when_it_hears_and_events_reach_the_journal(unit: Machine) -> None:
    """`systemctl start` has returned, so READY=1 has come."""
    cursor = unit.cursor()
    assert unit.show("ActiveState") == "active"
    last = event(unit.journal_until(cursor, is_event(type="emotion", phase="end"))[-1])
    assert last is not None
    assert unit.show("StatusText").startswith(("listening", "microphone healthy"))
    assert unit.show("NRestarts") == "0"


@pytest.mark.slow
def test_it_has_no_privilege(unit: Machine) -> None:
    status = dict(
        line.split(":\t", 1) for line in unit.output("cat", f"/proc/{unit.show('MainPID')}/status").splitlines()
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert 61184 <= int(status["Uid"].split()[0]) <= 65519  # the range of dynamic users


@pytest.mark.slow
def test_a_sound_card_whose_driver_comes_later_may_be_opened_and_nothing_else(machine: Machine) -> None:
    """`char-alsa` alone is resolved when the unit starts: without a driver, no card would be allowed ever after."""
    machine.output("sh", "-c", "mkdir -p /dev/snd; mknod /dev/snd/card c 116 0; mknod /dev/snd/other c 10 232")
    rules = [f"--property=DeviceAllow={rule}" for rule in re.findall("^DeviceAllow=(.*)$", UNIT.read_text(), re.M)]
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--property=DevicePolicy=closed", *rules]
    said = machine(*command, "cat", "/dev/snd/card", "/dev/snd/other", "/dev/null").stderr
    assert "/dev/snd/other: Operation not permitted" in said
    assert "/dev/snd/card: Operation not permitted" not in said
    assert "/dev/snd/card: No such device" in said  # open(2) went as far as the driver, and there is none
    assert "/dev/null" not in said


@pytest.mark.slow
def test_a_killed_process_comes_back(unit: Machine) -> None:
    cursor, pid = unit.cursor(), unit.show("MainPID")
    unit.signal("KILL")
    unit.journal_until(cursor, lambda line: line.startswith("Started affectd.service"))
    assert unit.show("MainPID") not in ("0", pid)
    unit.journal_until(cursor, is_event(type="emotion", phase="end"))


@pytest.mark.slow
def test_a_process_that_hangs_is_killed_by_the_watchdog_and_comes_back(unit: Machine) -> None:
    cursor = unit.cursor()
    unit.signal("STOP")
    unit.journal_until(cursor, lambda line: "Watchdog timeout" in line)
    unit.journal_until(cursor, lambda line: line.startswith("Started affectd.service"))
    unit.journal_until(cursor, is_event(type="emotion", phase="end"))


@pytest.mark.slow
def test_a_microphone_that_went_dead_is_told_and_restarts_nothing(unit: Machine) -> None:
    cursor, pid = unit.cursor(), unit.show("MainPID")
    unit.output("systemctl", "stop", "speech")  # the server runs on and delivers zeros
    unit.journal_until(cursor, is_event(type="status", state="alarmed", reason="constant"))
    assert unit.show("StatusText").startswith("microphone ")
    cursor = unit.cursor()
    unit.output("systemctl", "start", "speech")
    unit.journal_until(cursor, is_event(type="status", state="healthy"))
    unit.journal_until(cursor, is_event(type="emotion", phase="end"))
    assert unit.show("MainPID") == pid


@pytest.mark.slow
def test_an_absent_microphone_is_waited_for(unit: Machine) -> None:
    unit.output("systemctl", "stop", "affectd", "speech", "room")
    cursor = unit.cursor()
    unit.output("systemctl", "start", "affectd")
    unit.journal_until(cursor, is_event(type="status", reason="missing"))
    assert unit.show("ActiveState") == "active"
    unit.output("systemctl", "start", "speech")
    unit.journal_until(cursor, is_event(type="emotion", phase="end"))
    assert unit.show("NRestarts") == "0"


@pytest.mark.slow
def test_a_mistake_in_the_settings_stops_it_for_good(machine: Machine) -> None:
    machine.output("systemctl", "stop", "affectd")
    machine.write(SETTINGS, "[smoothing]\nuncertian = 0.5\n")
    cursor = machine.cursor()
    assert machine("systemctl", "start", "affectd").returncode != 0
    machine.journal_until(cursor, lambda line: "did you mean uncertain?" in line)
    # On its way to the next attempt it would be "activating (auto-restart)".
    assert (machine.show("ActiveState"), machine.show("SubState")) == ("failed", "failed")
    assert machine.show("ExecMainStatus") == "78"


@pytest.mark.slow
def test_thresholds_are_reloaded_and_a_broken_file_changes_nothing(unit: Machine) -> None:
    pid = unit.show("MainPID")
    unit.write(SETTINGS, "[smoothing]\nuncertain = 1.0\n")
    cursor = unit.cursor()
    unit.output("systemctl", "reload", "affectd")
    unit.journal_until(cursor, lambda line: "[gate] and [smoothing] read again" in line)
    assert said_next(unit) == "uncertain"
    unit.write(SETTINGS, "[smoothing]\nuncertain = 0.0\n")
    cursor = unit.cursor()
    unit.output("systemctl", "reload", "affectd")
    unit.journal_until(cursor, lambda line: "[gate] and [smoothing] read again" in line)
    assert said_next(unit) != "uncertain"
    unit.write(SETTINGS, "[smoothing]\nuncertain = 2.0\n")
    cursor = unit.cursor()
    unit.output("systemctl", "reload", "affectd")
    unit.journal_until(cursor, lambda line: "keeping the old settings" in line)
    assert said_next(unit) != "uncertain"
    assert (unit.show("ActiveState"), unit.show("MainPID")) == ("active", pid)


@pytest.mark.slow
def test_it_ends_within_a_second_and_closes_its_last_event(unit: Machine) -> None:
    # systemd itself takes the time: a process that is late is killed, and the result is "timeout".
    unit.write("/run/systemd/system/affectd.service.d/stop.conf", "[Service]\nTimeoutStopSec=1\n")
    unit.output("systemctl", "daemon-reload")
    cursor = unit.cursor()
    unit.journal_until(cursor, is_event(type="emotion", phase="start"))
    unit.output("systemctl", "stop", "affectd")
    assert (unit.show("Result"), unit.show("ExecMainStatus")) == ("success", "0")
    lines = unit.journal_until(cursor, lambda line: line.startswith("Stopped affectd.service"))
    last = [found for line in lines if (found := event(line)) and found["type"] == "emotion"][-1]
    assert last["phase"] == "end"


MEMORY = Path("/sys/fs/cgroup/memory")


@contextmanager
def limited_memory(unit: Machine) -> Iterator[None]:
    """Let the kernel hold the unit to its MemoryMax=, if this machine has the controller of memory only in cgroup 1."""
    if not (MEMORY / "memory.limit_in_bytes").exists():
        yield
        return
    inside = unit.show("MainPID")
    statuses = {path.parent: path.read_text() for path in Path("/proc").glob("[0-9]*/status") if path.exists()}
    ((pid, resident),) = (
        (folder.name, 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0]))
        for folder, status in statuses.items()
        if re.search(rf"^NSpid:.*\t{inside}$", status, re.M) and b"/opt/affectd" in (folder / "cmdline").read_bytes()
    )
    group = MEMORY / f"affectd-{os.getpid()}"
    group.mkdir()
    try:
        # What it has already stays in the group where it was.
        (group / "memory.limit_in_bytes").write_text(str(int(unit.show("MemoryMax")) - resident))
        (group / "cgroup.procs").write_text(pid)
        yield
        assert int((group / "memory.failcnt").read_text()) == 0
        more = int((group / "memory.max_usage_in_bytes").read_text())
        print(f"{resident / 1e6:.0f} MB, at most {more / 1e6:.0f} MB more")
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (MEMORY / "cgroup.procs").write_text(left)
        group.rmdir()


# The nice value of every process that brings a model.
RECEIVERS = r"""
for folder in /proc/[0-9]*; do
    if tr '\0' ' ' <$folder/cmdline 2>/dev/null | grep -q 'affectd[.]delivery[.]receive'; then
        awk '{print $19}' $folder/stat
    fi
done
"""


@pytest.mark.slow
def test_a_model_of_the_fleet_is_tried_in_the_sandbox_and_taken_up_or_refused(unit: Machine, tmp_path: Path) -> None:
    signer, sequence = Signer(tmp_path), iter(range(1, 10))
    unit.write("/etc/affectd/fleet.pub", signer.public.read_text())
    unit.write(PASSWORD, "open sesame\n")
    keys = '[model]\ntrusted_keys = "/etc/affectd/fleet.pub"\n'
    unit.write(SETTINGS, MQTT.format(port=unit.port) + f'fleet = "{FLEET}"\n' + keys)

    retained = ["mosquitto_pub", "-p", str(unit.observer_port), "-q", "1", "-r", "-t", TOPIC]

    def sent(content: bytes) -> None:
        message = signer.message(content, files.put("model", content), next(sequence))
        subprocess.run([*retained, "-s"], input=message, check=True, timeout=PATIENCE_SECONDS)

    def made(**changes: object) -> bytes:
        write_model(tmp_path / "made.tflite", tiny_model(**changes))
        return (tmp_path / "made.tflite").read_bytes()

    with Files() as files, Subscriber(unit.observer_port, "affectd/#") as ear, ExitStack() as stack:
        cursor = unit.cursor()
        unit.output("systemctl", "restart", "affectd")
        ear.wait_for("affectd/kiosk/status", "online", PATIENCE_SECONDS)
        pid = unit.show("MainPID")
        stack.enter_context(limited_memory(unit))
        files.answers.clear()
        sent(made())
        wait_until(lambda: files.asked, PATIENCE_SECONDS, "the file is asked for")
        assert unit.output("sh", "-c", RECEIVERS) == "19", "the sound goes first"
        files.answers.set()
        unit.journal_until(cursor, lambda line: "is installed (sequence 1)" in line)
        cursor = unit.cursor()
        unit.output("systemctl", "stop", "speech")  # a pause, in which it is taken up
        unit.journal_until(cursor, is_event(type="status", part="model", reason="installed"))
        cursor = unit.cursor()
        unit.output("systemctl", "start", "speech")
        unit.journal_until(cursor, is_event(type="emotion", phase="end", model=model_id(tiny_model())))
        golden = {**tiny_model().golden, "output": tiny_model().golden["output"] ^ 64}
        # As in tests/edge/recognition/test_trial.py: a network that ends the process which runs it.
        tiny = (DATA / "tiny.tflite").read_bytes()
        crashes = tiny[:1360] + b"\xff\xff\xff\xff" + tiny[1364:]
        for content in (made(tflite=crashes), made(golden=golden)):
            cursor = unit.cursor()
            sent(content)
            unit.journal_until(cursor, is_event(type="status", part="model", reason="refused", why="model"))
            unit.journal_until(cursor, is_event(type="emotion", phase="end", model=model_id(tiny_model())))
        assert (unit.show("NRestarts"), unit.show("MainPID")) == ("0", pid)
        subprocess.run([*retained, "-n"], check=True, timeout=PATIENCE_SECONDS)
    unit.output("rm", "/etc/affectd/fleet.pub")


@pytest.mark.slow
def test_a_broker_gets_the_password_and_every_event(unit: Machine) -> None:
    status, events = "affectd/kiosk/status", "affectd/kiosk/event"
    speak_mqtt(unit)
    with Subscriber(unit.observer_port, "affectd/#") as ear:
        unit.output("systemctl", "restart", "affectd")
        ear.wait_for(status, "online", PATIENCE_SECONDS)
        ear.wait_for(events, seconds=PATIENCE_SECONDS)

        # The broker stands still, an event waits, and the program dies before it would write that to the disk.
        unit.signal("STOP", "broker")
        cursor = unit.cursor()
        waiting = unit.journal_until(cursor, is_event(type="emotion", phase="end"))[-1]
        unit.signal("KILL")
        lines = unit.journal_until(cursor, lambda line: line.startswith("Started affectd.service"))
        assert waiting not in ear.payloads(events)
        unit.signal("CONT", "broker")
        ear.wait_for(events, waiting, PATIENCE_SECONDS)
        made = [line for line in lines if event(line)]
        assert [line for line in dict.fromkeys(ear.payloads(events)) if line in made] == made

        unit.output("systemctl", "stop", "affectd")
        wait_until(lambda: ear.payloads(status)[-1] == "stopped")
        said = ear.payloads(status)
        # Before it, what another test has left at the broker.
        assert [*dict.fromkeys(said[said.index("online") :])] == ["online", "offline", "stopped"]
        assert said[-2:] == ["online", "stopped"]

        # Without its password the broker refuses it, and it listens all the same.
        unit.output("rm", PASSWORD)
        cursor = unit.cursor()
        unit.output("systemctl", "start", "affectd")
        unit.journal_until(cursor, lambda line: "not authorized" in line)
        unit.journal_until(cursor, is_event(type="emotion", phase="end"))
        assert unit.show("ActiveState") == "active"


@pytest.mark.slow
def test_a_service_that_is_disabled_or_was_started_by_hand_stays_so(unit: Machine) -> None:
    unit.output("systemctl", "disable", "--now", "affectd")
    # As where an upgrade brings another unit.
    unit.output("sh", "-c", "echo '# an older one' >>/etc/systemd/system/affectd.service")
    done = unit("/checkout/scripts/install-edge")
    assert "its service stays disabled" in done.stderr
    assert (unit.show("ActiveState"), unit.show("UnitFileState")) == ("inactive", "disabled")
    assert unit.show("NeedDaemonReload") == "no"
    unit.output("systemctl", "start", "affectd")
    unit.output("sh", "-c", "echo '# an older one' >>/etc/systemd/system/affectd.service")
    unit.output("/checkout/scripts/install-edge")
    wait_until(lambda: unit.show("ActiveState") == "active")
    assert unit.show("UnitFileState") == "disabled"
    unit.output("systemctl", "enable", "affectd")


@pytest.mark.slow
def test_uninstalling_the_running_service_leaves_no_file_and_nothing_at_the_broker(unit: Machine) -> None:
    # The last test: it takes away what the others look at, and brings it back for the fixture to stop.
    speak_mqtt(unit)
    unit.output("systemctl", "restart", "affectd")
    with Subscriber(unit.observer_port, "#") as ear:
        ear.wait_for("affectd/kiosk/status", "online", PATIENCE_SECONDS)
        ear.wait_for("homeassistant/device/affectd_kiosk/config", seconds=PATIENCE_SECONDS)
    assert unit.show("ActiveState") == "active"
    unit.output("/checkout/scripts/install-edge", "--uninstall", "--purge")
    with Subscriber(unit.observer_port, "#") as ear:
        ear.subscribe("nothing/at/all")  # its answer comes after what was retained
        assert ear.messages == []
    assert unit.files() - unit.before == set()
    assert unit.before - unit.files() == set()
    assert unit("ls", "/run/affectd", "/run/private/affectd").stdout == ""
    assert unit.show("LoadState") == "not-found"
    assert "affectd" not in unit("sh", "-c", "cat /proc/[0-9]*/cmdline").stdout
    unit.output("/checkout/scripts/install-edge")
