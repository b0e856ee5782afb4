"""What `affectd doctor` says of devices that are broken in one place each."""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

import affectd as package
from affectd.audio.condition import SENTENCES
from affectd.audio.mends import MENDS
from affectd.audio.portaudio import apart, close
from affectd.config.sections import WebConfig
from affectd.doctor import board, installation
from affectd.doctor import microphone as microphone_check
from affectd.doctor import page as page_check
from affectd.doctor.checks import CHECKS, as_text, examine
from affectd.doctor.device import Device
from affectd.doctor.finding import Finding
from affectd.doctor.microphone import judge
from affectd.errors import MicrophoneError, UnavailableError
from affectd.events.event import event_schema
from affectd.recognition import classifier
from affectd.recognition.model_file import write_model
from affectd.web.page import Page
from broker import free_port
from disks import mounted
from fake_broker import CONNECT, DISCONNECT, FakeBroker
from sounds import as_int16, gain, noise, silence, syllables, write_wav
from tiny_model import draft_model, tiny_model

ROOM = gain(noise("pink", 2), -40)
MADE_UP = [name for name in CHECKS if name not in ("clock", "disk")]  # those are of the machine that tests
SHOWN = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nExecMainStatus=0\nNRestarts=0\n"


def opens(samples: np.ndarray, seen: list[tuple] | None = None) -> Any:
    """Open a microphone that delivers these samples and then no more."""

    @contextmanager
    def open_microphone(*wanted: Any) -> Iterator[Any]:
        if seen is not None:
            seen.append(wanted)
        blocks = iter(np.split(samples, range(1600, len(samples), 1600)) if len(samples) else [])
        yield SimpleNamespace(
            name="test", sample_rate=16000, read=lambda timeout: (0, next(blocks, np.zeros(0, np.float32)))
        )

    return open_microphone


def refuses(error: Exception) -> Any:
    def open_microphone(*wanted: Any) -> Any:
        raise error

    return open_microphone


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AFFECTD_") or name == "STATE_DIRECTORY"]:
        monkeypatch.delenv(name)


@pytest.fixture
def device(model: Path, tmp_path: Path) -> Any:
    """Make a healthy device below `tmp_path`, with changes."""
    config = tmp_path / "etc/affectd/affectd.toml"
    config.parent.mkdir(parents=True)
    config.write_text("")

    def make(**changes: Any) -> Device:
        return Device(
            **{
                "config_path": config,
                "model_path": model,
                "root": tmp_path,
                "run": lambda command: None,
                "open_microphone": opens(ROOM),
                **changes,
            }
        )

    return make


def put(root: Path, path: str, text: str) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def found(device: Device, check: str) -> Finding:
    return CHECKS[check](device)


def says(finding: Finding, grade: str, *words: str) -> None:
    assert finding.grade == grade, finding
    assert bool(finding.mend) == (grade != "ok"), "a fault without a fix"
    for word in words:
        assert word in finding.found + finding.mend


def test_a_healthy_device_has_no_fault(device: Any) -> None:
    findings = dict(examine(device()))
    assert list(findings) == list(CHECKS)
    assert {name: f for name, f in findings.items() if f.grade != "ok" and name in MADE_UP} == {}


@pytest.mark.parametrize("broken", list(CHECKS))
def test_a_check_that_fails_itself_is_one_fault_and_the_others_go_on(
    device: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setitem(CHECKS, broken, lambda device: 1 / 0)
    findings = dict(examine(device()))
    assert list(findings) == list(CHECKS)
    says(findings[broken], "fault", "ZeroDivisionError")
    assert [name for name, f in findings.items() if f.grade == "fault" and name in (broken, *MADE_UP)] == [broken]


def test_a_misspelt_setting_is_one_fault_and_the_rest_is_checked_with_the_defaults(device: Any, tmp_path: Path) -> None:
    put(tmp_path, "etc/affectd/affectd.toml", "[gate]\nmargin = 3\n")
    findings = dict(examine(device()))
    says(findings["configuration"], "fault", "margin_db")
    assert [f.grade for name, f in findings.items() if name in ("model", "interpreter", "microphone")] == ["ok"] * 3


def test_a_damaged_model_is_a_fault_and_what_needs_it_is_not_judged(device: Any, model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    findings = dict(examine(device(model_path=damaged)))
    says(findings["model"], "fault", "damaged", str(damaged))
    for name in ("interpreter", "self-test"):
        says(findings[name], "warning", "not checked", "damaged")


def test_without_an_interpreter_it_says_what_to_install(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "RUNTIMES", {"no-such-runtime": "no_such_runtime"})
    findings = dict(examine(device()))
    says(findings["interpreter"], "fault", "no-such-runtime: not installed", "pip install 'affectd[interpreter]'")
    says(findings["self-test"], "warning", "not checked")


def test_on_32_bit_arm_it_says_that_no_interpreter_exists_for_a_new_python(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "RUNTIMES", {"no-such-runtime": "no_such_runtime"})
    monkeypatch.setattr(installation.platform, "machine", lambda: "armv7l")
    monkeypatch.setattr(installation.sys, "version_info", (3, 13))
    says(found(device(), "interpreter"), "fault", "Debian 12", "64-bit")


def test_numbers_that_are_off_fail_the_self_test(device: Any, tmp_path: Path) -> None:
    whole = tiny_model()
    off = tmp_path / "off.tflite"
    write_model(off, tiny_model(golden={**whole.golden, "cepstra": whole.golden["cepstra"] + 1}))
    says(found(device(model_path=off), "self-test"), "fault", "golden.cepstra")


@pytest.mark.parametrize(
    ("versions", "grade"),
    [
        ({}, "fault"),
        ({"numpy": "2.1.0", "tflite-runtime": "2.14.0"}, "fault"),
        ({"numpy": np.__version__, "tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"}, "ok"),
        ({"numpy": "1.26.0", "ai-edge-litert": "2.3.0"}, "warning"),  # another one is imported
    ],
)
def test_numpy_must_fit_the_interpreter(device: Any, versions: dict[str, str], grade: str) -> None:
    says(found(device(version=versions.get), "numpy"), grade)


def test_a_numpy_that_cannot_be_imported_keeps_no_other_check_from_looking() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from affectd.doctor.checks import examine\nfrom affectd.doctor.device import Device\n"
        "for name, finding in examine(Device()): print(name, finding.grade, sep='=')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    grades = dict(line.split("=") for line in done.stdout.splitlines())
    assert list(grades) == list(CHECKS)
    assert grades["numpy"] == "fault"
    assert grades["throttling"] == "ok"
    assert done.stderr == ""


def test_the_configured_microphone_is_opened(device: Any, tmp_path: Path) -> None:
    put(tmp_path, "etc/affectd/affectd.toml", '[audio]\ndevice = "card:Device"\nchannel = 1\n')
    seen: list[tuple] = []
    says(found(device(open_microphone=opens(ROOM, seen)), "microphone"), "ok", "dBFS")
    assert seen == [(16000, "card:Device", 1)]


def test_a_file_as_the_source_needs_no_microphone(device: Any, tmp_path: Path) -> None:
    talk = write_wav(tmp_path / "talk.wav", syllables(1.0))
    put(tmp_path, "etc/affectd/affectd.toml", f'[audio]\nsource = "{talk}"\n')
    broken = device(open_microphone=refuses(MicrophoneError("missing", "none")))
    says(found(broken, "microphone"), "ok", "talk.wav")
    talk.write_bytes(b"MThd")
    says(found(broken, "microphone"), "fault", "MIDI", "source")
    talk.unlink()
    says(found(broken, "microphone"), "fault", "talk.wav does not exist", "source")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MicrophoneError("missing", "There is no microphone."), ["no microphone", "plug it in", "affectd devices"]),
        (MicrophoneError("busy", "The microphone is in use."), ["in use", "end the program", "fuser"]),
        (MicrophoneError("refused", "Several are called usb:1."), ["Several", "name another", "affectd devices"]),
        (MicrophoneError("stalled", "It has ended its stream."), ["ended", "unplug it"]),
        (UnavailableError("needs PyAudio"), ["PyAudio", "python3-pyaudio"]),
    ],
)
def test_a_microphone_that_does_not_open_is_a_fault(device: Any, error: Exception, words: list[str]) -> None:
    says(found(device(open_microphone=refuses(error)), "microphone"), "fault", *words)


def test_a_microphone_that_opens_and_delivers_nothing_is_a_fault(device: Any) -> None:
    says(found(device(open_microphone=opens(np.zeros(0, np.float32))), "microphone"), "fault", "delivers nothing")


@pytest.mark.parametrize("hangs", ["opening", "closing"])
def test_a_sound_server_that_hangs_is_a_fault_and_holds_up_no_other_check(
    device: Any, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    monkeypatch.setattr(microphone_check, "_PATIENCE_SECONDS", 0.3)
    goes_on = threading.Event()

    @contextmanager
    def open_microphone(*_: object) -> Iterator[Any]:
        if hangs == "opening":
            apart(partial(goes_on.wait, 10.0))
        try:
            with opens(ROOM)() as stream:
                yield stream
        finally:
            close(partial(goes_on.wait, 10.0))

    try:
        says(found(device(open_microphone=open_microphone), "microphone"), "fault", "does not answer", "sound server")
    finally:
        goes_on.set()


def test_a_microphone_that_the_running_service_holds_is_no_fault(device: Any, tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    busy = refuses(MicrophoneError("busy", "The microphone is in use."))
    held = device(open_microphone=busy, run=lambda command: SHOWN)
    says(found(held, "microphone"), "warning", "systemctl stop affectd")
    stopped = device(open_microphone=busy, run=lambda command: SHOWN.replace("active\n", "inactive\n", 1))
    says(found(stopped, "microphone"), "fault", "in use")


@pytest.mark.parametrize(
    ("samples", "grade", "words"),
    [
        (ROOM, "ok", "dBFS"),
        (silence(1), "fault", "digital silence"),
        (np.full(16000, 0.25, np.float32), "fault", "one value"),
        (np.clip(4 * noise("pink", 1), -1, 1), "warning", "clipping"),
        (gain(noise("white", 1), -90), "warning", "quiet"),
        (0.5 + gain(noise("white", 1), -90), "warning", "quiet"),
    ],
    ids=["room", "silence", "constant", "clipping", "quiet", "quiet with an offset"],
)
def test_what_the_microphone_delivers_is_judged(samples: np.ndarray, grade: str, words: str) -> None:
    says(judge(samples.astype(np.float32)), grade, words)


@pytest.mark.parametrize(
    ("sound", "reason", "words"),
    [
        (np.tile(gain(noise("pink", 2.7), -20), 5), "repeated", ["same 2.70 s", "unplug"]),
        (np.tile(np.append(np.zeros(7999), 0.5), 30), "clicks", ["2 clicks a second", "cable"]),
        (gain(syllables(14), -45), "quiet", ["-45.", "dBFS", "amixer"]),
    ],
    ids=["repeated", "clicks", "quiet"],
)
def test_unfit_sound_is_a_warning_with_its_figure_and_what_to_do(
    device: Any, sound: np.ndarray, reason: str, words: list[str]
) -> None:
    says(found(device(open_microphone=opens(as_int16(sound))), "microphone"), "warning", *words)
    assert reason in MENDS


@pytest.mark.parametrize(("mix", "one", "is_canceled"), [(0.0, 1.0, True), (0.01, 1.0, True), (0.01, 0.1, False)])
def test_channels_that_cancel_each_other_out_are_a_fault(
    device: Any, mix: float, one: float, is_canceled: bool
) -> None:
    sound = gain(noise("white", 2), -60)
    microphone = found(
        device(open_microphone=lambda *asked: opens(sound * (one if asked[2] == 0 else mix))()), "microphone"
    )
    assert ("cancel each other out" in microphone.found and "channel = 0" in microphone.mend) == is_canceled


def test_there_is_a_mend_for_every_reason() -> None:
    assert list(MENDS) == list(SENTENCES)
    assert board.mend_degraded("listening") not in MENDS.values()
    for reason in MENDS:
        says(judge(ROOM, {reason: 0.5}), "warning", MENDS[reason])


def test_the_level_is_in_dbfs() -> None:
    wave = np.sin(2 * np.pi * 100 * np.arange(16000) / 16000).astype(np.float32)
    says(judge(0.1 * wave), "ok", "-23 dBFS")  # 20 log10(0.1) and 3 dB of a sine


def install_unit(root: Path) -> None:
    put(root, "etc/systemd/system/affectd.service", "[Service]\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_microphone_is_tried_as_the_user_of_the_service(device: Any, tmp_path: Path) -> None:
    install_unit(tmp_path)
    finding = found(device(config_path=None), "service user")
    # There is no sound card for tests, or that user may not read this source tree: both are true faults.
    says(finding, "fault")
    assert "microphone" in finding.found or "does not start" in finding.found


def test_what_the_user_of_the_service_runs_gives_a_finding(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_unit(tmp_path)
    run = subprocess.run

    def run_as_this_user(command: Sequence[str], **options: Any) -> Any:
        for option in ("user", "group", "extra_groups"):
            del options[option]
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", run_as_this_user)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "does not start" not in found(device(config_path=None), "service user").found


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become another user")
def test_who_is_not_root_is_told_so(device: Any, tmp_path: Path) -> None:
    install_unit(tmp_path)
    says(found(device(), "service user"), "warning", "sudo affectd doctor")


def test_a_model_that_the_service_may_not_read_is_a_fault(device: Any, model: Path, tmp_path: Path) -> None:
    copy = put(tmp_path, "opt/affectd/affectd.tflite", "")
    for folder in [*copy.parents][: len(copy.relative_to(tmp_path).parents) - 1]:
        folder.chmod(0o755)
    (tmp_path / "etc").chmod(0o755)
    (tmp_path / "etc/affectd").chmod(0o755)
    (tmp_path / "etc/affectd/affectd.toml").chmod(0o644)
    copy.chmod(0o644)
    patient = device(model_path=copy)
    says(found(patient, "permissions"), "ok")
    copy.chmod(0o600)
    says(found(patient, "permissions"), "ok")  # without a service other users need no access
    install_unit(tmp_path)
    for mode in (0o600, 0o601):
        copy.chmod(mode)
        says(found(patient, "permissions"), "fault", str(copy))
    copy.chmod(0o644)
    says(found(patient, "permissions"), "ok")
    (tmp_path / "opt").chmod(0o711)
    says(found(patient, "permissions"), "ok")  # a folder is entered, not listed
    (tmp_path / "opt").chmod(0o700)
    says(found(patient, "permissions"), "fault", str(tmp_path / "opt"), "chmod")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without access")
def test_a_sound_card_that_the_user_may_not_use_is_a_fault(device: Any, tmp_path: Path) -> None:
    card = put(tmp_path, "dev/snd/pcmC0D0c", "")
    card.chmod(0o600)
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
    (tmp_path / "dev").chmod(0o755)
    (tmp_path / "dev/snd").chmod(0o755)
    patient = device()
    says(found(patient, "permissions"), "ok")
    os.seteuid(65534)
    try:
        says(found(patient, "permissions"), "fault", str(card), "usermod -aG audio")
    finally:
        os.seteuid(0)
    install_unit(tmp_path)
    (tmp_path / "etc").chmod(0o755)
    (tmp_path / "etc/affectd").chmod(0o755)
    says(found(patient, "permissions"), "fault", "the group audio may not use", str(card))
    os.chown(card, 0, grp.getgrnam("audio").gr_gid)
    card.chmod(0o640)
    says(found(patient, "permissions"), "fault", "the group audio may not use", str(card))
    card.chmod(0o660)
    says(found(patient, "permissions"), "ok")


def test_a_secret_that_every_user_can_read_is_a_warning(device: Any, tmp_path: Path) -> None:
    secret = put(tmp_path, "pass word", "open sesame")
    put(tmp_path, "etc/affectd/affectd.toml", f'[mqtt]\nenabled = true\nusername = "pi"\npassword_file = "{secret}"\n')
    secret.chmod(0o644)
    says(found(device(), "permissions"), "warning", str(secret), f"sudo chmod o= '{secret}'")
    secret.chmod(0o640)
    says(found(device(), "permissions"), "ok")


def test_nor_may_that_of_the_service_be_read(device: Any, tmp_path: Path) -> None:
    for folder in (tmp_path / "etc", tmp_path / "etc/affectd"):
        folder.chmod(0o755)
    install_unit(tmp_path)
    settings = put(tmp_path, "etc/affectd/affectd.toml", "[mqtt]\nenabled = true\n")
    settings.chmod(0o644)
    secret = put(tmp_path, "etc/affectd/mqtt_password", "open sesame")
    secret.chmod(0o644)
    says(found(device(), "permissions"), "warning", str(secret), "chmod o=")


def test_a_finding_is_one_line_and_its_fix_another() -> None:
    text = as_text("model", Finding(grade="fault", found="a\nb", mend="c\nd"))
    assert text.split("\n") == ["fault    model          a\\nb", " " * 24 + "-> c\\nd"]


def test_without_a_broker_in_the_settings_none_is_looked_for(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    says(found(device(), "broker"), "ok", "no broker configured")


def test_a_broker_is_logged_in_to_and_left_without_a_trace(device: Any, tmp_path: Path) -> None:
    with FakeBroker() as broker:
        put(
            tmp_path,
            "etc/affectd/affectd.toml",
            f'[device]\nid = "kiosk"\n[mqtt]\nenabled = true\nport = {broker.port}\n',
        )
        with ThreadPoolExecutor() as pool:
            finding = pool.submit(found, device(), "broker")
            client = broker.accept()
            body = client.expect(CONNECT)
            assert b"affectd-kiosk-doctor" in body, "the service keeps its connection"
            assert not body[7] & 0x04, "no last will"
            client.answer(0)
            client.confirm(1)
            client.expect(DISCONNECT)
            client = broker.welcome("5")
            event = client.published()
            assert (event.topic, event.qos, event.retain) == ("affectd/kiosk/event", 1, False)
            jsonschema.validate(json.loads(event.payload), event_schema())
            assert json.loads(event.payload)["type"] == "test"
            client.acknowledge(event, 0)
            client.expect(DISCONNECT)
            says(
                finding.result(),
                "ok",
                f"localhost:{broker.port} lets this device in by MQTT 3.1.1",
                "takes its events",
            )


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_refused_subscription_and_a_refused_event_are_faults(device: Any, tmp_path: Path, protocol: str) -> None:
    with FakeBroker() as broker:
        settings = f'[mqtt]\nenabled = true\nport = {broker.port}\nlisten_command = true\nprotocol = "{protocol}"\n'
        put(tmp_path, "etc/affectd/affectd.toml", f'[device]\nid = "kiosk"\n{settings}')
        with ThreadPoolExecutor() as pool:
            finding = pool.submit(found, device(), "broker")
            client = broker.welcome(protocol)
            client.confirm(1)
            client.confirm(128)
            if protocol == "3.1.1":
                client.expect(DISCONNECT)
                client = broker.welcome("5")
            client.acknowledge(client.published(), 135)
            client.expect(DISCONNECT)
            words = ("affectd/kiosk/listen (no reason given)", "affectd/kiosk/event (not authorized)", "Access control")
            says(finding.result(), "fault", *words)


@pytest.mark.parametrize("comes_back", [True, False])
def test_where_there_is_no_mqtt_5_an_event_must_come_back(device: Any, tmp_path: Path, comes_back: bool) -> None:
    with FakeBroker() as broker:
        settings = f'[device]\nid = "kiosk"\n[mqtt]\nenabled = true\nport = {broker.port}\ndiscovery = false\n'
        put(tmp_path, "etc/affectd/affectd.toml", settings)
        with ThreadPoolExecutor() as pool:
            finding = pool.submit(found, device(), "broker")
            broker.welcome().expect(DISCONNECT)
            client = broker.accept("3.1.1")
            client.expect(CONNECT)
            client.answer(1)
            client = broker.welcome()
            client.confirm(1)
            event = client.published()
            client.acknowledge(event)
            if comes_back:
                client.publish(event.topic, event.payload.encode())
            client.expect(DISCONNECT)
            if comes_back:
                says(finding.result(), "ok", "takes its events")
            else:
                says(finding.result(), "warning", "does not tell whether it takes events", "test")


def test_a_broker_that_refuses_is_a_fault_with_its_reason(device: Any, tmp_path: Path) -> None:
    with FakeBroker() as broker:
        settings = f'[mqtt]\nenabled = true\nport = {broker.port}\nusername = "kitchen"\n'
        put(tmp_path, "etc/affectd/affectd.toml", settings)
        with ThreadPoolExecutor() as pool:
            finding = pool.submit(found, device(), "broker")
            client = broker.accept()
            client.expect(CONNECT)
            client.answer(5)
            where = "the password in /etc/affectd/mqtt_password"
            says(finding.result(), "fault", str(broker.port), "not authorized", where)


def test_a_broker_that_is_away_is_a_fault(device: Any, tmp_path: Path) -> None:
    put(tmp_path, "etc/affectd/affectd.toml", f"[mqtt]\nenabled = true\nport = {free_port()}\n")
    says(found(device(), "broker"), "fault", "nothing listens there")


def test_without_a_client_library_the_broker_is_a_fault(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "etc/affectd/affectd.toml", "[mqtt]\nenabled = true\n")
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    says(found(device(), "broker"), "fault", "paho-mqtt is not installed", "pip install")


def test_the_password_of_the_service_is_looked_for_where_the_unit_takes_it_from(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    settings = '[mqtt]\nenabled = true\nhost = "broker.lan"\nusername = "pi"\n'
    put(tmp_path, "etc/affectd/affectd.toml", settings)
    put(tmp_path, "etc/affectd/mqtt_password", "open sesame\n")
    install_unit(tmp_path)
    says(found(device(), "broker"), "fault", "without encryption", "correct [mqtt]")


def test_without_a_page_in_the_settings_none_is_looked_for(device: Any) -> None:
    says(found(device(), "page"), "ok", "no page configured")


@pytest.mark.parametrize(
    ("health", "grade", "words"),
    [(None, "ok", "affectd run opens it"), (200, "ok", "it answers"), (503, "warning", "no sound is processed")],
)
def test_a_page_is_there_or_could_be(device: Any, tmp_path: Path, health: int | None, grade: str, words: str) -> None:
    config = WebConfig(port=free_port())
    put(tmp_path, "etc/affectd/affectd.toml", f"[web]\nenabled = true\nport = {config.port}\n")
    with ExitStack() as stack:
        if health is not None:
            about = {"card": {}, "labels": ()}
            page = stack.enter_context(Page(config, about, dict, dict, lambda: ({}, 0.0)))
            list(page.hub.heard([0] * (health == 200)))
        says(found(device(), "page"), grade, f"http://127.0.0.1:{config.port}/", "this device alone", words)


def test_a_page_whose_port_another_program_has_is_a_fault(device: Any, tmp_path: Path) -> None:
    with FakeBroker() as other:
        put(tmp_path, "etc/affectd/affectd.toml", f"[web]\nenabled = true\nport = {other.port}\n")
        with ThreadPoolExecutor(1) as pool:
            finding = pool.submit(found, device(), "page")
            other.accept().close()
            says(finding.result(), "fault", "another program has this port")


def test_a_page_whose_port_drips_does_not_hold_the_check_up(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_check, "_ANSWER_SECONDS", 0.3)
    with FakeBroker() as other:
        put(tmp_path, "etc/affectd/affectd.toml", f"[web]\nenabled = true\nport = {other.port}\n")
        with ThreadPoolExecutor(1) as pool:
            finding = pool.submit(found, device(), "page")
            with closing(other.accept()) as client, suppress(ConnectionError):  # reset by a check that has heard enough
                for _ in range(50):
                    client.send(b"x")
                    time.sleep(0.05)
                pytest.fail("it listened to all of it")
            says(finding.result(), "fault", "another program has this port")


def test_a_page_for_others_without_a_token_is_a_fault(
    device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    settings = f'[web]\nenabled = true\nbind = "0.0.0.0"\nport = {free_port()}\n'
    put(tmp_path, "etc/affectd/affectd.toml", settings)
    says(found(device(), "page"), "fault", "needs a token", "correct [web]")
    install_unit(tmp_path)
    secret = put(tmp_path, "etc/affectd/web_token", "0123456789abcdef\n")
    says(found(device(), "page"), "ok", "with a token")
    secret.chmod(0o644)
    for path in ("etc", "etc/affectd"):
        (tmp_path / path).chmod(0o755)
    (tmp_path / "etc/affectd/affectd.toml").chmod(0o644)
    says(found(device(), "permissions"), "warning", str(secret), "chmod o=")


@pytest.mark.parametrize(
    ("section", "setting", "credential"),
    [("mqtt", "password_file", "mqtt_password"), ("web", "token_file", "web_token")],
)
def test_a_secret_that_root_alone_can_read_is_not_for_the_service(
    device: Any, tmp_path: Path, section: str, setting: str, credential: str
) -> None:
    """The doctor is root and can read it; the user that systemd makes for the service cannot."""
    secret = put(tmp_path, "etc/affectd/secret", "0123456789abcdef\n")
    settings = f'[{section}]\nenabled = true\n{setting} = "{secret}"\n'
    put(tmp_path, "etc/affectd/affectd.toml", settings)
    for path, mode in (("etc", 0o755), ("etc/affectd", 0o755), ("etc/affectd/affectd.toml", 0o644)):
        (tmp_path / path).chmod(mode)
    secret.chmod(0o600)
    says(found(device(), "permissions"), "ok")
    install_unit(tmp_path)
    says(found(device(), "permissions"), "warning", str(secret), f"[{section}] {setting}", f"/etc/affectd/{credential}")
    secret.chmod(0o640)
    says(found(device(), "permissions"), "ok")


@pytest.mark.parametrize(
    ("synchronized", "grade"), [(True, "ok"), (False, "warning"), (None, "warning")], ids=["yes", "no", "unknown"]
)
def test_a_clock_that_follows_no_time_server_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, synchronized: bool | None, grade: str
) -> None:
    monkeypatch.setattr("affectd.doctor.board.clock_synchronized", lambda: synchronized)
    says(board.clock(), grade)


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, "ok"),
        ({"f_bavail": 200 << 8}, "warning"),
        ({"f_bavail": 0}, "fault"),
        ({"f_bavail": 0, "f_blocks": 0}, "ok"),  # the FAT of FUSE tells nothing
        ({"f_favail": 0}, "fault"),
        ({"f_favail": 0, "f_files": 0}, "ok"),  # btrfs counts no inodes
        ({"f_flag": os.ST_RDONLY}, "warning"),
    ],
)
def test_a_full_disk_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, int], grade: str
) -> None:
    room = {"f_blocks": 1 << 21, "f_bavail": 1 << 20, "f_frsize": 4096, "f_files": 9, "f_favail": 9, "f_flag": 0}
    room |= changes
    asked = []
    (tmp_path / "var").mkdir()
    monkeypatch.setattr(os, "statvfs", lambda path: asked.append(path) or SimpleNamespace(**room))
    says(board.disk(tmp_path), grade)
    assert asked == [tmp_path / "var"], "the nearest folder that exists"


def test_a_file_in_the_place_of_the_state_folder_is_a_fault(tmp_path: Path) -> None:
    put(tmp_path, "var/lib/affectd", "")
    says(board.disk(tmp_path), "fault", "/var/lib/affectd is no folder", "sudo mv")


@pytest.mark.parametrize(
    ("readings", "grade", "words"),
    [
        ([], "ok", "no sensor"),
        (["51234\n"], "ok", "51 degrees"),
        (["40000\n", "81500\n"], "warning", "82 degrees"),
        (["96000\n"], "fault", "96 degrees"),
        (["", "42000\n"], "ok", "42 degrees"),
    ],
)
def test_the_hottest_sensor_counts(tmp_path: Path, readings: list[str], grade: str, words: str) -> None:
    for number, text in enumerate(readings):
        put(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", text)
    says(board.temperature(tmp_path), grade, words)


@pytest.mark.parametrize(
    ("bits", "grade", "words"),
    [
        ("0", "ok", "none"),
        ("50005", "fault", "too little power right now"),
        ("50000", "warning", "too little power since boot"),
        ("80008", "warning", "soft temperature limit right now"),
        ("60000", "warning", "throttled since boot"),
    ],
)
@pytest.mark.parametrize("way", ["sysfs", "vcgencmd"])
def test_a_raspberry_pi_tells_of_its_power_and_speed(
    tmp_path: Path, bits: str, grade: str, words: str, way: str
) -> None:
    def run(command: Sequence[str]) -> str | None:
        assert list(command) == ["vcgencmd", "get_throttled"]
        return f"throttled=0x{bits}\n"

    if way == "sysfs":
        put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
        says(board.throttling(tmp_path, lambda command: None), grade, words)
    else:
        says(board.throttling(tmp_path, run), grade, words)


def test_other_boards_say_nothing_of_throttling(tmp_path: Path) -> None:
    says(board.throttling(tmp_path, lambda command: None), "ok")
    says(board.throttling(tmp_path, lambda command: "VCHI initialization failed\n"), "ok")


@pytest.mark.parametrize(
    ("changes", "grade", "words"),
    [
        ({}, "ok", ["active (running)"]),
        ({"StatusText": "listening"}, "ok", ["listening"]),
        ({"StatusText": "microphone healthy: heard"}, "ok", ["microphone healthy"]),
        ({"StatusText": "microphone degraded: quiet (-41.3)"}, "warning", ["degraded: quiet (-41.3)", "amixer"]),
        ({"StatusText": "microphone degraded: rate (0.5); file failed"}, "warning", ["rate (0.5)", "real time"]),
        ({"StatusText": "microphone alarmed: missing"}, "fault", ["active", "missing", "journalctl"]),
        ({"StatusText": "microphone recovering: constant"}, "fault", ["recovering: constant"]),
        ({"StatusText": "microphone failed: stalled"}, "fault", ["failed: stalled"]),
        ({"StatusText": "microphone muted: asked"}, "warning", ["muted: asked", "publish ON"]),
        ({"LoadState": "not-found"}, "ok", ["not installed"]),
        ({"LoadState": "bad-setting"}, "fault", ["bad-setting"]),
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"}, "fault", ["78", "journalctl"]),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "fault", ["auto-restart", "journalctl"]),
        ({"ActiveState": "inactive", "SubState": "dead"}, "warning", ["enable --now"]),
        ({"UnitFileState": "disabled"}, "warning", ["next boot"]),
        ({"NRestarts": "3"}, "warning", ["restarted 3 times"]),
    ],
)
def test_the_state_of_the_service_is_told(
    tmp_path: Path, changes: dict[str, str], grade: str, words: list[str]
) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    shown = {**dict(line.split("=") for line in SHOWN.splitlines()), **changes}
    text = "".join(f"{key}={value}\n" for key, value in shown.items())
    says(board.unit(tmp_path, lambda command: text), grade, *words)


def test_without_systemd_no_command_is_run(tmp_path: Path) -> None:
    says(board.unit(tmp_path, lambda command: pytest.fail("systemctl was asked")), "ok", "systemd does not run")


def test_a_program_that_is_not_there_or_fails_answers_nothing() -> None:
    assert board.run_program(["/no/such/program"]) is None
    assert board.run_program([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert board.run_program([sys.executable, "-c", "print('yes')"]) == "yes\n"


def affectd(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "affectd", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_where_events_cannot_be_written_is_found_and_nothing_is_made_there(device: Any, tmp_path: Path) -> None:
    says(found(device(), "file"), "ok", "no file")

    def of(path: str, **changes: Any) -> Finding:
        put(tmp_path, "etc/affectd/affectd.toml", f'[file]\npath = "{tmp_path / path}"\n')
        return found(device(**changes), "file")

    says(of("events.jsonl"), "ok", "events.jsonl")
    assert not (tmp_path / "events.jsonl").exists()
    put(tmp_path, "old.jsonl", '{"schema": 2, "type": "emotion"}\n')
    says(of("old.jsonl"), "ok")
    put(tmp_path, "old.jsonl.2", "notes of mine\n")
    says(of("old.jsonl"), "fault", "old.jsonl.2, which it would become: it holds something else")
    says(of("old.jsonl.2"), "fault", "it holds something else than events of affectd")
    os.mkfifo(tmp_path / "pipe")
    says(of("pipe"), "fault", "not a regular file")
    says(of("stick/events.jsonl"), "warning", "its folder is missing", "mount")
    says(of("old.jsonl/events.jsonl"), "warning", "its folder is missing")
    with mounted(tmp_path / "fixed", "-t", "tmpfs", "-o", "ro", "tmpfs"):
        says(of("fixed/events.jsonl"), "fault", "may not write to")


def test_the_service_may_write_events_only_where_its_unit_says(device: Any, tmp_path: Path) -> None:
    put(tmp_path, "etc/systemd/system/affectd.service", "")
    (tmp_path / "log").mkdir()
    put(tmp_path, "etc/affectd/affectd.toml", f'[file]\npath = "{tmp_path}/log/events.jsonl"\n')
    for answer, grade in [
        ("ProtectSystem=strict\nReadWritePaths=\n", "warning"),
        (f"ProtectSystem=strict\nReadWritePaths=/srv -{tmp_path}/log\n", "ok"),
        (f"ProtectSystem=strict\nReadWritePaths={tmp_path}/lo\n", "warning"),
        ("ProtectSystem=full\nReadWritePaths=\n", "ok"),
        ("", "ok"),
    ]:
        finding = found(device(run=lambda command, answer=answer: answer), "file")
        says(finding, grade, *(["ReadWritePaths=-"] if grade == "warning" else []))


def test_the_command_prints_a_line_per_check_and_ends_with_69_if_one_is_a_fault(model: Path, tmp_path: Path) -> None:
    config = put(tmp_path, "affectd.toml", "[gate]\nmargin = 3\n")
    done = affectd("doctor", "--json", "--config", config, "--model", model)
    findings = {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert list(findings) == list(CHECKS)
    assert list(findings["configuration"]) == ["check", "grade", "found", "mend"]
    assert findings["configuration"]["grade"] == "fault"
    assert findings["self-test"]["grade"] == "ok"
    assert (done.returncode, done.stderr) == (69, "")

    lines = affectd("doctor", "--config", config, "--model", model).stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [f["grade"] for f in findings.values()]
    assert lines[1].strip().startswith("-> correct that line")
    lines = affectd("doctor", "--config", tmp_path / "none.toml", "--model", model).stdout.splitlines()
    assert lines[1].strip().startswith("-> see to it that the file can be read")


def test_the_command_ends_with_0_if_there_is_no_fault(model: Path, tmp_path: Path) -> None:
    talk = write_wav(tmp_path / "talk.wav", syllables(1.0))
    config = put(tmp_path, "affectd.toml", f'[audio]\nsource = "{talk}"\n')
    done = affectd("doctor", "--json", "--config", config, "--model", model)
    grades = [json.loads(line)["grade"] for line in done.stdout.splitlines()]
    assert done.returncode == (69 if "fault" in grades else 0)
    assert "fault" not in grades, "this machine has a full disk or is too hot"


def test_a_variable_that_is_no_setting_is_pointed_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = tmp_path / "affectd.toml"
    settings.touch()
    monkeypatch.setenv("AFFECTD_XYZZY", "open sesame")
    finding = installation.configuration(Device(config_path=settings))
    assert finding.grade == "warning"
    assert "AFFECTD_XYZZY" in finding.found
    assert "sesame" not in finding.found


def test_a_network_that_fails_to_load_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    tflite = draft_model().tflite
    write_model(path, draft_model(tflite=tflite[:8] + bytes(len(tflite) - 8)))
    finding = installation.interpreter(Device(model_path=path))
    assert finding.grade == "fault"
    assert str(path) in finding.found
