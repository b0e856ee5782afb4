"""Checks of the microphone, of its use by the service's user, and of file permissions."""

from __future__ import annotations

import grp
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING

import affectd
from affectd.audio.mends import GAIN, MENDS
from affectd.doctor.board import unit_is_installed, unit_state
from affectd.doctor.device import Device, Open
from affectd.doctor.finding import Finding, fault, ok, warning
from affectd.errors import AffectdError, MicrophoneError, UnavailableError

if TYPE_CHECKING:
    from affectd.arrays import Float32
    from affectd.config.sections import AudioConfig

_SAMPLE_RATE = 16000
_FIRST_SECONDS = 1.0
# Twice the longest loop.
_LISTEN_SECONDS = 12.0
# Evidence counts so much more than for the service, which has more time.
_HURRY = 2.5
_STALLED_SECONDS = 5.0
# A user id without privileges, like that of the service.
_UNPRIVILEGED = 65534
# For all of it, and for a program that does it.
_PATIENCE_SECONDS, _SERVICE_PATIENCE_SECONDS = 25.0, 30.0
_MENDS = {
    "missing": "plug it in, or name another one; affectd devices shows what there is, lsusb what the system sees",
    "busy": "end the program that uses it (sudo fuser -v /dev/snd/* names it), or name another card",
    "refused": "name another device or channel below [audio]; affectd devices shows what there is",
    "stalled": "unplug it and plug it in again, or try another",
}
# A speed that is told; beyond it is no sound card.
_SPEED = (0.1, 0.95, 1.05, 2.7)


def microphone(device: Device) -> Finding:
    """Check the sound of the configured microphone."""
    if device.config.audio.source != "mic":
        return _recording(device.config.audio.source)
    try:
        with _limited():
            samples, figures = listen(device.config.audio, device.open_microphone)
            finding = judge(samples, figures)
            if finding.grade != "ok" and _cancels(device, samples):
                from affectd.audio.mixing import CANCELED

                return fault(f"opens, but {CANCELED}", "listen to one of them: channel = 0 below [audio]")
            return finding
    except _NoAnswer:
        return fault("the sound server or the card does not answer", "restart that server, or plug the card in again")
    except UnavailableError as error:
        return fault(str(error), "sudo apt install python3-pyaudio, and an environment that sees system packages")
    except MicrophoneError as error:
        if unit_state(device.root, device.run).get("ActiveState") == "active":
            return warning(f"{error} The service may hold it.", "sudo systemctl stop affectd, then try again")
        return fault(str(error), _MENDS[error.reason])


def _recording(path: str) -> Finding:
    """Check the source that takes the place of a microphone, as far as that can be done without hearing it."""
    from affectd.audio.wav import WavReader

    try:
        if path != "-":
            WavReader(path)
    except AffectdError as error:
        return fault(str(error), 'below [audio], name a recording that is there as source, or "mic"')
    return ok(f"not needed: the source is {path}")


class _NoAnswer(BaseException):
    """Nothing else than what a signal raises ends a call that hangs (`affectd.audio.portaudio.apart`)."""


@contextmanager
def _limited() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _NoAnswer

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def service_user(device: Device) -> Finding:
    """Check that the service's user can open it."""
    if device.config.audio.source != "mic" or not unit_is_installed(device.root):
        return ok("no service that needs a microphone")
    if os.geteuid() != 0:
        return warning("not tried: only root can become the service's user", "sudo affectd doctor")
    if unit_state(device.root, device.run).get("ActiveState") == "active":
        return ok("not tried: the service itself is running as that user")
    return _as_service_user(device)


def _as_service_user(device: Device) -> Finding:
    """Check the microphone as the service would: unprivileged, in the group audio, without a session."""
    group = _audio_group()
    code = f"from {__name__} import listen_alone; listen_alone({os.fspath(device.config_path or '')!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            user=_UNPRIVILEGED,
            group=_UNPRIVILEGED,
            extra_groups=[] if group is None else [group],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(affectd.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=_SERVICE_PATIENCE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # The last line of a traceback.
        reason = [str(error), *(getattr(error, "stderr", None) or "").strip().splitlines()][-1]
        return fault(f"affectd does not start as the service's user: {reason}", "install it with scripts/install-edge")
    finding = Finding(**json.loads(done.stdout))
    if finding.grade == "fault":
        return fault(
            finding.found, "no user session there: name the card in [audio] device, as affectd devices prints it"
        )
    return finding


def listen_alone(config_path: str) -> None:
    """Check the microphone and print the finding as JSON; run as the service's user."""
    print(json.dumps(asdict(microphone(Device(config_path=Path(config_path) if config_path else None)))))


def listen(audio: AudioConfig, open_microphone: Open) -> tuple[Float32, dict[str, float]]:
    """Record 12 s from the configured microphone, or as long as it goes on.

    Returns
    -------
    samples : ndarray of float32, shape (n,)
        Mono.
    figures : dict of str to float
        What is wrong with them, by the reasons of `affectd.audio.condition`.

    Raises
    ------
    UnavailableError, MicrophoneError
        It cannot be opened or delivers nothing.
    """
    import numpy as np

    from affectd.audio.condition import Condition
    from affectd.audio.microphone import record

    with open_microphone(_SAMPLE_RATE, audio.device, audio.channel) as stream:
        condition = Condition(stream.sample_rate, _HURRY)
        blocks = [record(stream, _FIRST_SECONDS, _STALLED_SECONDS)]
        began = now = time.monotonic()
        n_samples = 0
        while max(now - began, n_samples / stream.sample_rate) < _LISTEN_SECONDS:
            n_lost, samples = stream.read(_FIRST_SECONDS)
            if not len(samples):
                break
            now = time.monotonic()
            n_samples += n_lost + len(samples)
            if n_lost:
                condition.skip()
            condition.push(samples)
            blocks.append(samples)
        speed = n_samples / stream.sample_rate / max(now - began, 1e-3)
    slowest, slow, fast, fastest = _SPEED
    is_off = slowest < speed < slow or fast < speed < fastest
    rate = {"rate": round(speed, 2)} if is_off and now - began > _LISTEN_SECONDS / 3 else {}
    return np.concatenate(blocks), {**rate, **condition.figures}


def _cancels(device: Device, mix: Float32) -> bool:
    """Return whether the mean of all channels is far quieter than one of them, as where one is inverted."""
    from affectd.audio.condition import frame_powers
    from affectd.audio.microphone import record
    from affectd.audio.mixing import CANCELED_POWER

    audio = device.config.audio
    if audio.channel != "mix":
        return False
    with device.open_microphone(_SAMPLE_RATE, audio.device, 0) as stream:
        one, rate = record(stream, _FIRST_SECONDS, _STALLED_SECONDS), stream.sample_rate
    # The quietest moment of each, which nothing that sounds just now makes louder.
    quietest = [float(frame_powers(sound[-rate:], rate)[0].min()) for sound in (mix, one)]
    return quietest[0] < CANCELED_POWER * quietest[1]


def judge(samples: Float32, figures: Mapping[str, float] = MappingProxyType({})) -> Finding:
    """Check the sound of a microphone, (n,) float32 in [-1, 1], of which this was measured."""
    import numpy as np

    from affectd.audio.condition import SENTENCES

    spread = float(samples.std())
    if spread == 0.0:
        if samples[0] == 0.0:
            return fault("opens, but delivers digital silence", f"unmute it and {GAIN}")
        return fault("opens, but delivers one value for ever", "unplug it and plug it in again, or try another")
    for reason, figure in figures.items():
        return warning(f"opens, but {SENTENCES[reason].format(figure)}", MENDS[reason])
    found = f"opens, {20 * np.log10(spread):.0f} dBFS"
    if np.mean(np.abs(samples) > 0.999) > 1e-3:
        return warning(f"{found}, clipping", f"{GAIN} lower")
    if spread < 1e-4:
        return warning(f"{found}, which is too quiet for speech to stand out", f"{GAIN} higher")
    return ok(found)


def permissions(device: Device) -> Finding:
    """Check that the sound cards and files are accessible."""
    service = unit_is_installed(device.root)
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
    return ok("sound cards and files are accessible")


def _audio_group() -> int | None:
    try:
        return grp.getgrnam("audio").gr_gid
    except KeyError:
        return None


def _closed_to_others(path: Path, root: Path) -> Path | None:
    """Return the first part of a path, below `root`, that other users may not enter or read."""
    resolved, root = path.resolve(), root.resolve()
    if not resolved.is_relative_to(root) or not resolved.exists():
        return None
    for part in [*reversed(resolved.parents), resolved]:
        wanted = 0o001 if part.is_dir() else 0o004
        if part != root and part.is_relative_to(root) and not part.stat().st_mode & wanted:
            return part
    return None
