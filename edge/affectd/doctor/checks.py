"""Everything that can be wrong with this device, one line each, and how to mend it.

A check is a function from a `Device` to a `Finding`; `CHECKS` is the table of them all. What a check needs it
imports itself: a broken NumPy must not keep the others from looking.
"""

from __future__ import annotations

import grp
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectd import board
from affectd.errors import AffectdError, ConfigError, MicrophoneError, UnavailableError
from affectd.finding import Finding, fault, ok, warning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from affectd.classifier import Classifier
    from affectd.config import AudioConfig, Config
    from affectd.microphone import Stream
    from affectd.model_file import ModelFile

Open = Callable[[int, str, int | str], "AbstractContextManager[Stream]"]

_SAMPLE_RATE = 16000
_LISTEN_SECONDS = 1.0
_STALLED_SECONDS = 5.0
# What the service's user is in every respect but its number: nobody, with access to sound cards.
_NOBODY = 65534
_SERVICE_PATIENCE_SECONDS = 30.0
_GAIN = "set the gain: alsamixer, then F6 for the card and F4 for recording"
_REINSTALL = "install affectd again; if that does not help, the storage may be failing"


def _open_microphone(sample_rate: int, device: str, channel: int | str) -> AbstractContextManager[Stream]:
    from affectd.microphone import open_microphone

    return open_microphone(sample_rate, device, channel)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device that is examined; tests make up a broken one.

    Parameters
    ----------
    config_path, model_path : str or Path, optional
        As on the command line.
    root : Path
        Where its file system begins.
    run : callable
        Starts a program.
    version : callable
        Returns the version of an installed distribution; None if it is not.
    open_microphone : callable
        As `affectd.microphone.open_microphone`.
    """

    config_path: str | Path | None = None
    model_path: str | Path | None = None
    root: Path = Path("/")
    run: board.Run = board.run_program
    version: Callable[[str], str | None] = _version
    open_microphone: Open = _open_microphone

    @cached_property
    def config(self) -> Config:
        """The settings in force; the defaults if they cannot be read, for which there is a check."""
        from affectd.config import Config
        from affectd.layers import load_config

        try:
            return load_config(self.config_path)
        except ConfigError:
            return Config()

    @cached_property
    def model_file(self) -> Path:
        """Where the model is."""
        from affectd.model_file import default_model_path

        chosen = self.model_path or self.config.model.path
        return Path(chosen) if chosen else default_model_path()

    @cached_property
    def model(self) -> ModelFile:
        """The model."""
        from affectd.model_file import read_model

        return read_model(self.model_file)

    @cached_property
    def classifier(self) -> Classifier:
        """The model on the interpreter that works here."""
        from affectd.classifier import Classifier

        return Classifier(self.model)


def examine(device: Device) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of every check; one that fails itself is a fault like any other.

    What a check needs and cannot have is the fault of the check before that is about it.
    """
    for name, check in CHECKS.items():
        try:
            yield name, check(device)
        except AffectdError as error:
            yield name, warning(f"not checked: {error}", "mend that first")
        except Exception as error:
            yield name, fault(f"the check itself failed: {type(error).__name__}: {error}", "please report this")


def _configuration(device: Device) -> Finding:
    from affectd.layers import load_config

    try:
        load_config(device.config_path)
    except ConfigError as error:
        return fault(str(error), "correct that line; affectd config shows what is in force")
    return ok("can be used")


def _numpy(device: Device) -> Finding:
    numpy = device.version("numpy")
    if numpy is None:
        return fault("NumPy is not installed", "pip install numpy")
    has_litert, has_tflite = device.version("ai-edge-litert"), device.version("tflite-runtime")
    if int(numpy.split(".")[0]) >= 2 and has_tflite and not has_litert:
        return fault(f"tflite-runtime {has_tflite} fails beside NumPy {numpy}", "pip install 'numpy<2'")
    import numpy as imported

    if imported.__version__ != numpy:
        return warning(f"NumPy {numpy} is installed, but {imported.__version__} is used", "unset PYTHONPATH")
    return ok(f"NumPy {numpy}")


def _model(device: Device) -> Finding:
    try:
        model = device.model
    except AffectdError as error:
        return fault(str(error), _REINSTALL)
    return ok(f"{device.model_file}: {', '.join(model.labels)}")


def _interpreter(device: Device) -> Finding:
    device.model  # noqa: B018  without one no interpreter can be tried
    try:
        classifier = device.classifier
    except UnavailableError as error:
        if platform.machine().startswith("armv") and sys.version_info >= (3, 12):
            mend = "32-bit ARM has one for Python 3.11 alone: use Debian 12, or a 64-bit system"
        else:
            mend = "pip install 'affectd[interpreter]' in the environment of affectd"
        return fault(str(error), mend)
    return ok(f"{classifier.runtime_name} {classifier.runtime_version}")


def _self_test(device: Device) -> Finding:
    from affectd.classifier import self_test

    classifier = device.classifier
    try:
        steps = self_test(device.model, classifier)["output_steps"]
    except AffectdError as error:
        return fault(str(error), _REINSTALL)
    return ok(f"the network computes what it should, to {steps:g} steps of 256")


def _microphone(device: Device) -> Finding:
    if device.config.audio.source != "mic":
        return ok(f"not needed: the source is {device.config.audio.source}")
    try:
        return judge(listen(device.config.audio, device.open_microphone))
    except UnavailableError as error:
        return fault(str(error), "sudo apt install python3-pyaudio, and an environment that sees system packages")
    except MicrophoneError as error:
        if board.unit_state(device.root, device.run).get("ActiveState") == "active":
            return warning(f"{error} The service may hold it.", "sudo systemctl stop affectd, then try again")
        return fault(str(error), "plug it in; affectd devices shows what there is")


def _service_user(device: Device) -> Finding:
    if device.config.audio.source != "mic" or not board.unit_is_installed(device.root):
        return ok("no service that needs a microphone")
    if os.geteuid() != 0:
        return warning("not tried: only root can become the service's user", "sudo affectd doctor")
    if board.unit_state(device.root, device.run).get("ActiveState") == "active":
        return ok("not tried: the service itself is running as that user")
    return _as_service_user(device)


def _as_service_user(device: Device) -> Finding:
    """Listen again as systemd starts the service: nobody, in the group audio, without a session."""
    group = _audio_group()
    code = f"from affectd.doctor import listen_alone; listen_alone({os.fspath(device.config_path or '')!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[] if group is None else [group],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=_SERVICE_PATIENCE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # Of a traceback the last line says it.
        reason = [str(error), *(getattr(error, "stderr", None) or "").strip().splitlines()][-1]
        return fault(f"affectd does not start as the service's user: {reason}", "install it with scripts/install-edge")
    finding = Finding(**json.loads(done.stdout))
    if finding.grade == "fault":
        return fault(
            finding.found, "no user session there: name the card in [audio] device, as affectd devices prints it"
        )
    return finding


def listen_alone(config_path: str) -> None:
    """Check the microphone alone and print the finding; what the service's user runs."""
    print(json.dumps(asdict(_microphone(Device(config_path=Path(config_path) if config_path else None)))))


def listen(audio: AudioConfig, open_microphone: Open) -> NDArray[np.float32]:
    """Return about a second of the configured microphone, mono, (n,) float32.

    Raises
    ------
    UnavailableError, MicrophoneError
        It cannot be opened or delivers nothing.
    """
    import numpy as np

    with open_microphone(_SAMPLE_RATE, audio.device, audio.channel) as stream:
        heard: list[NDArray[np.float32]] = []
        while sum(map(len, heard)) < _LISTEN_SECONDS * stream.sample_rate:
            _, samples = stream.read(_STALLED_SECONDS)
            if not len(samples):
                raise MicrophoneError("stalled", f"The microphone {stream.name} opens, but delivers nothing.")
            heard.append(samples)
    return np.concatenate(heard)


def judge(samples: NDArray[np.float32]) -> Finding:
    """Judge what a microphone delivered, (n,) float32 in [-1, 1]."""
    import numpy as np

    spread = float(samples.std())
    if spread == 0.0:
        if samples[0] == 0.0:
            return fault("opens, but delivers digital silence", f"unmute it and {_GAIN}")
        return fault("opens, but delivers one value for ever", "unplug it and plug it in again, or try another")
    found = f"opens, {20 * np.log10(spread):.0f} dBFS"
    if np.mean(np.abs(samples) > 0.999) > 1e-3:
        return warning(f"{found}, clipping", f"{_GAIN} lower")
    if spread < 1e-4:
        return warning(f"{found}, which is too quiet for speech to stand out", f"{_GAIN} higher")
    return ok(found)


def _permissions(device: Device) -> Finding:
    service = board.unit_is_installed(device.root)
    for card in sorted(device.root.glob("dev/snd/pcmC*c")):
        state = card.stat()
        if service and not (state.st_gid == _audio_group() and state.st_mode & 0o060 == 0o060):
            return fault(f"the group audio may not use {card}", f"sudo chgrp audio {card}; sudo chmod g+rw {card}")
        if not os.access(card, os.R_OK | os.W_OK, effective_ids=True):
            return fault(f"you may not use {card}", "sudo usermod -aG audio $USER, then log in again")
    if service:
        files = [Path(sys.executable).parent, Path(sys.executable), Path(__file__), device.model_file]
        files.append(Path(device.config_path or device.root / "etc/affectd/affectd.toml"))
        for path in files:
            closed = _closed_to_others(path, device.root)
            if closed:
                return fault(
                    f"the service's user may not read {closed}", f"sudo chmod o+rX {closed}, or scripts/install-edge"
                )
    return ok("sound cards and files are open to who needs them")


def _audio_group() -> int | None:
    try:
        return grp.getgrnam("audio").gr_gid
    except KeyError:
        return None


def _closed_to_others(path: Path, root: Path) -> Path | None:
    """Return the first part of a path that other users may not enter or read; parts above `root` do not count."""
    resolved, root = path.resolve(), root.resolve()
    if not resolved.is_relative_to(root) or not resolved.exists():
        return None
    for part in [*reversed(resolved.parents), resolved]:
        wanted = 0o001 if part.is_dir() else 0o004
        if part != root and part.is_relative_to(root) and not part.stat().st_mode & wanted:
            return part
    return None


def _broker(device: Device) -> Finding:
    from affectd.broker_check import broker

    environment = dict(os.environ)
    if board.unit_is_installed(device.root):  # the folder that the unit takes the password from
        environment.setdefault("CREDENTIALS_DIRECTORY", str(device.root / "etc/affectd"))
    return broker(device.config.mqtt, device.config.device.id, environment)


CHECKS: dict[str, Callable[[Device], Finding]] = {
    "configuration": _configuration,
    "numpy": _numpy,
    "model": _model,
    "interpreter": _interpreter,
    "self-test": _self_test,
    "microphone": _microphone,
    "service user": _service_user,
    "permissions": _permissions,
    "broker": _broker,
    "clock": lambda device: board.clock(),
    "disk": lambda device: board.disk(device.root),
    "temperature": lambda device: board.temperature(device.root),
    "throttling": lambda device: board.throttling(device.root, device.run),
    "unit": lambda device: board.unit(device.root, device.run),
}


def as_text(name: str, finding: Finding) -> str:
    """Write a finding for people: one line, and below it how to mend it."""
    line = f"{finding.grade:8} {name:14} {finding.found}"
    return f"{line}\n{'':24}-> {finding.mend}" if finding.mend else line


def as_json(name: str, finding: Finding) -> dict[str, Any]:
    """Write a finding for programs."""
    return {"check": name, **asdict(finding)}
