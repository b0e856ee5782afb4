"""Which model is in force after a power cut at any moment, after damage, and after a trial."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from affectd.config.sections import Config, DeviceConfig, ModelConfig, MqttConfig
from affectd.delivery import probation
from affectd.delivery.deliveries import Deliveries
from affectd.delivery.installed import Installed, file_of, folder_of, in_force, part_of, read, rolled_back, write
from affectd.delivery.message import parse
from affectd.delivery.probation import Probation
from affectd.delivery.receive import Order, receive
from affectd.files import sha256
from affectd.recognition.model_file import read_model, write_model
from faulty_disk import FULL, Step, faulty_disk
from fleet import FLEET, Files, Signer
from tiny_model import tiny_model

MOST_STEPS = 200


class Setting:
    """A device that runs a delivered model, and is sent another one."""

    def __init__(self, folder: Path, files: Files) -> None:
        signer = Signer(folder)
        self.config = Config(
            device=DeviceConfig(id="kitchen"),
            mqtt=MqttConfig(enabled=True, fleet=FLEET),
            model=ModelConfig(trusted_keys=str(signer.public)),
        )
        self.folder = folder_of("kitchen")
        self.digests = []
        for name, temperature in (("old", 1.0), ("new", 2.0)):
            write_model(folder / name, tiny_model(temperature=temperature))
            self.digests.append(sha256((folder / name).read_bytes()).hexdigest())
        self.old, self.new = self.digests
        self.begin(folder / "old")
        content = (folder / "new").read_bytes()
        self.payload = signer.message(content, files.put("new", content), 2)

    def begin(self, old: Path | None = None) -> None:
        """Start with the old one."""
        content = (old or file_of(self.folder, self.old)).read_bytes()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink()
        file_of(self.folder, self.old).write_bytes(content)
        write(self.folder, Installed(sequence=1, current=self.old))

    def take(self) -> None:
        """Take the message to its end, in this process."""
        deliveries = Deliveries(self.config)
        deliveries._received = lambda message: receive(  # type: ignore[method-assign]
            Order(url=message.url, n_bytes=message.n_bytes, sha256=message.sha256, folder=str(self.folder))
        )
        deliveries.load(lambda: in_force(self.config))
        deliveries._take(self.payload)

    def current(self) -> str:
        """Return the digest of the model that a start would load; it is whole."""
        path = in_force(self.config).model.path
        read_model(path)
        return Path(path).stem


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with Files() as files:
        yield Setting(tmp_path, files)  # type: ignore[misc]


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in a copy of this process, which dies before this access to the disk; return whether it did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if not child:
        n_left, parent = step, os.getpid()

        def dying(function: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal n_left
                n_left -= os.getpid() == parent  # not in the trial, which is another process
                if n_left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        try:
            for name in ("open", "write", "fsync", "replace", "unlink", "mkdir"):
                setattr(os, name, dying(getattr(os, name)))
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_power_cut_leaves_the_old_model_or_the_new_one(setting: Setting) -> None:
    found = []
    for step in range(MOST_STEPS):
        setting.begin()
        was_killed = killed_at(step, setting.take)
        found.append(setting.current())
        assert found[-1] in setting.digests
        if not was_killed:
            break
        setting.take()  # after the restart the broker sends the message again
        assert setting.current() == setting.new, step
        assert {path.suffix for path in setting.folder.iterdir()} <= {".json", ".tflite"}, step
    assert step > 15
    assert found[-1] == setting.new
    assert found == sorted(found, key=setting.digests.index), "the old one, and from some step on the new one"


@pytest.mark.parametrize("failing", ["open", "sync", "replace"])
def test_a_disk_that_fails_keeps_what_was_known_and_nothing_half_written(tmp_path: Path, failing: str) -> None:
    write(tmp_path, Installed(sequence=1))

    def refuse(step: Step) -> int | None:
        return FULL if step.kind == failing else None

    with faulty_disk(refuse), pytest.raises(OSError, match="space"):
        write(tmp_path, Installed(sequence=2))
    assert read(tmp_path) == Installed(sequence=1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_is_not_used_and_comes_again(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    setting.take()
    path = file_of(setting.folder, setting.new)
    path.write_bytes(path.read_bytes()[:-1])
    assert in_force(setting.config).model.path == "", "the configured one"
    assert "is damaged" in caplog.text
    setting.take()
    assert setting.current() == setting.new


def test_the_work_that_outlives_a_killed_service_ends_without_a_traceback(setting: Setting) -> None:
    message = parse(setting.payload)[0]
    order = Order(url=message.url, n_bytes=message.n_bytes, sha256=message.sha256, folder=str(setting.folder))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "affectd.delivery.receive"]
    done = subprocess.run(
        command,
        input=json.dumps(asdict(order)).encode(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_left_of_another_download_is_deleted(setting: Setting) -> None:
    left = setting.folder / "of-another.part"
    left.write_bytes(b"half a model")
    setting.take()
    assert setting.current() == setting.new
    assert not left.exists()


def test_what_is_not_of_a_fleet_uses_the_configured_model(setting: Setting) -> None:
    for other in (
        replace(setting.config, mqtt=replace(setting.config.mqtt, fleet="")),
        replace(setting.config, mqtt=replace(setting.config.mqtt, enabled=False)),
        replace(setting.config, model=replace(setting.config.model, trusted_keys="")),
    ):
        assert in_force(other) == other


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    for content in ("", "{", "[]", '{"sequence": 3}', '{"bad": 1}', '{"bad": [], "other": 1}'):
        (tmp_path / "installed.json").write_text(content)
        assert read(tmp_path) == Installed()


@pytest.mark.parametrize(
    "damage",
    [
        '"deaths": "x"',
        '"current": 5',
        '"sequence": null',
        '"on_trial": 1',
        '"usual_seconds": "x"',
        '"verdict": "x"',
        '"verdict": {"state": "healthy"}',
        f'"verdict": {"[" * 20000}',
    ],
    ids=lambda damage: damage[:30],
)
def test_a_record_of_values_that_cannot_be_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    (tmp_path / "installed.json").write_text(f'{{"bad": [], {damage}}}')
    assert read(tmp_path) == Installed()
    lost = f"what is known of delivered models is lost: {tmp_path / 'installed.json'}"
    assert caplog.messages == [f"{lost}: it is damaged"]
    caplog.clear()
    (tmp_path / "installed.json").unlink()
    (tmp_path / "installed.json").mkdir()
    assert read(tmp_path) == Installed()
    assert caplog.messages == [f"{lost}: Is a directory"]


def test_a_record_with_a_changed_sign_is_none(tmp_path: Path) -> None:
    known = Installed(sequence=5, current="ab" * 32, previous="cd" * 32, on_trial=True, deaths=1, usual_seconds=2.5)
    write(tmp_path, known)
    path = tmp_path / "installed.json"
    content = path.read_text()
    for at, sign in enumerate(content):
        for other in {"7", "e", " "} - {sign}:
            path.write_text(content[:at] + other + content[at + 1 :])
            assert read(tmp_path) in (Installed(), known), path.read_text()
    path.write_text(content)
    assert read(tmp_path) == known


def test_a_record_of_an_earlier_version_which_has_no_checksum_is_taken(tmp_path: Path) -> None:
    known = Installed(sequence=5, current="ab" * 32)
    (tmp_path / "installed.json").write_text(json.dumps(asdict(known)))
    assert read(tmp_path) == known


def test_without_a_free_process_the_work_is_tried_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    later: list[object] = []
    worker = SimpleNamespace(is_closing=False, drop=lambda _: None, do=lambda *job: later.append(job))
    deliveries = Deliveries(setting.config)
    monkeypatch.setattr(deliveries, "_worker", worker)
    monkeypatch.setattr(deliveries, "_believed", lambda payload: parse(payload)[0])

    def none_is_free(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("subprocess.Popen", none_is_free)
    for _ in range(4):
        deliveries._take(setting.payload)
    assert len(later) == 4
    assert "no process can be started: Resource temporarily unavailable" in caplog.text
    assert (read(setting.folder).unfinished, read(setting.folder).current) == (0, setting.old)


def test_a_model_that_a_full_disk_has_no_room_to_note_is_tried_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[object] = []
    worker = SimpleNamespace(is_closing=False, drop=lambda _: None, do=lambda *job: later.append(job))
    monkeypatch.setattr("affectd.delivery.deliveries.Worker", lambda: worker)

    def refuse(step: Step) -> int | None:
        has_come = file_of(setting.folder, setting.new).exists()
        return FULL if has_come and step.path.endswith("installed.json") else None

    with faulty_disk(refuse):
        setting.take()
    assert setting.current() == setting.old
    assert len(later) == 1
    setting.take()
    assert setting.current() == setting.new


def test_an_installed_model_that_cannot_be_loaded_any_more_is_rolled_back(setting: Setting) -> None:
    setting.take()
    with pytest.MonkeyPatch.context() as patch:
        from affectd.delivery import deliveries as module
        from affectd.errors import ModelFileError

        def load(config: ModelConfig) -> object:
            if setting.new in config.path:
                raise ModelFileError("tflite: it crashes")
            return original(config)

        original = module.load_classifier
        patch.setattr(module, "load_classifier", load)
        config, _ = Deliveries(setting.config).load(lambda: in_force(setting.config))
    assert Path(config.model.path).stem == setting.old
    assert read(setting.folder).bad == (setting.new,)
    assert not file_of(setting.folder, setting.new).exists()


def test_a_message_whose_work_dies_is_tried_three_times_with_its_whole_file(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    part = part_of(setting.folder, setting.new)
    for n in range(-5, 4):  # each in another run, as after the death of the service
        # What the run before left: first the power died in a slow download.
        part.write_bytes(bytes(parse(setting.payload)[0].n_bytes - (n < 1)))
        deliveries = Deliveries(setting.config)
        monkeypatch.setattr(deliveries, "_received", lambda message: None)
        monkeypatch.setattr(
            deliveries, "_worker", SimpleNamespace(is_closing=False, drop=lambda _: None, do=lambda *_: None)
        )
        monkeypatch.setattr(deliveries, "_tell", lambda *words, **about: told.append(about["why"]))
        deliveries._take(setting.payload)
        known = read(setting.folder)
        assert (known.current, known.sequence) == (setting.old, 1 if n < 3 else 2)
    assert told == ["crash"] * 9
    assert known.verdict["reason"] == "refused"


def test_rolling_back_remembers_the_bad_one() -> None:
    known = rolled_back(Installed(sequence=3, current="new", previous="old", on_trial=True, deaths=2), "died")
    assert (known.current, known.previous, known.bad, known.on_trial) == ("old", "", ("new",), False)
    assert known.sequence == 3, "the message is no newer one"
    assert (known.verdict["state"], known.verdict["reason"], known.verdict["why"]) == ("alarmed", "rolled_back", "died")


def talk(trial: Probation, seconds: float) -> None:
    for _ in range(round(seconds)):
        trial.heard(np.ones(100, bool))


@pytest.mark.parametrize(
    ("usual_seconds", "most_seconds"), [(0.0, 60.0), (2.0, 60.0), (30.0, 300.0), (None, float("inf"))]
)
def test_events_have_stopped_by_what_was_usual(usual_seconds: float | None, most_seconds: float) -> None:
    trial = Probation(100.0, on_trial=True, usual_seconds=usual_seconds)
    talk(trial, min(most_seconds, 10_000.0))
    assert not trial.is_silent
    talk(trial, 1.0)
    assert trial.is_silent == (most_seconds < 10_000.0)
    trial.event()
    assert not trial.is_silent
    trial.heard(np.zeros(1_000_000, bool))
    assert not trial.is_silent, "without speech there is nothing to tell"


def test_a_model_has_proven_itself_by_events_over_minutes() -> None:
    now = [0.0]
    trial = Probation(100.0, on_trial=True, usual_seconds=0.0, clock=lambda: now[0])
    talk(trial, 30.0)
    assert trial.usual_seconds() == 0.0
    for _ in range(probation.PROVEN_EVENTS):
        assert not trial.is_proven
        trial.event()
    assert not trial.is_proven
    now[0] = probation.PROVEN_SECONDS
    assert trial.is_proven
    assert trial.usual_seconds() == 10.0
    silent = Probation(100.0, on_trial=False, usual_seconds=0.0)
    talk(silent, 61.0)
    assert silent.usual_seconds() is None
    assert not silent.is_silent, "it is not on trial"
