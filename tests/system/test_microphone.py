"""The microphone through the real PyAudio, PortAudio and ALSA, whose `file` plugin stands in for a card."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectd.recognition.model_file import find_model

ALSA = Path("/usr/share/alsa/alsa.conf")
pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio is not installed"),
    pytest.mark.skipif(not ALSA.is_file(), reason=f"no ALSA configuration at {ALSA}"),
]

LISTEN = """
import logging, sys
import numpy as np
from affectd.audio.source import open_source
from affectd.config.sections import AudioConfig
from affectd.errors import AffectdError
logging.basicConfig(level="INFO", format="%(message)s")
try:
    source = open_source(AudioConfig(), 16000)
except AffectdError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
samples = np.zeros(0, np.float32)
while len(samples) < 32000:
    block = next(source)
    # This device is far faster than any card; what is lost for that comes as blocks of silence.
    samples = np.concatenate([samples, block if block.any() else block[:0]])
source.close()
sys.stdout.buffer.write(samples.tobytes())
"""

DEVICES = """
from affectd.audio.devices import list_microphones
for microphone in list_microphones():
    print(microphone.name, microphone.names, microphone.n_channels, microphone.sample_rates, microphone.level_dbfs)
"""

SEEK = """
from pathlib import Path
from affectd.errors import AudioError
from affectd.audio.microphone import open_microphone
def seek(times):
    for _ in range(times):
        try:
            with open_microphone(16000):
                print("there is one")
        except AudioError:
            pass
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
before = seek(50)
print(seek(150) - before, len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir())))
"""


def run(program: str, alsa_config: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=alsa(alsa_config), timeout=120, check=False
    )


def alsa(config: Path) -> dict[str, str]:
    """Return an environment in which ALSA reads this configuration."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ALSA_CONFIG_PATH": str(config),
        "JACK_NO_START_SERVER": "1",
    }


@pytest.fixture
def period() -> np.ndarray:
    """One period of 64 samples, which divides every buffer: what is dropped or repeated leaves no seam."""
    return (np.arange(64) * 300 - 9600).astype("<i2")


@pytest.fixture
def card(tmp_path: Path, period: np.ndarray) -> Path:
    """Return an ALSA configuration whose default device records a file, as fast as it can."""
    np.tile(period, 500).tofile(tmp_path / "sound.raw")
    config = tmp_path / "asoundrc"
    config.write_text(
        f'<{ALSA}>\npcm.!default {{ type file slave.pcm null file /dev/null infile "{tmp_path}/sound.raw" '
        'format raw hint { show on description "a file" } }\n'
    )
    return config


def test_a_real_device_delivers_its_samples_through_the_callback(card: Path, period: np.ndarray) -> None:
    result = run(LISTEN, card)
    assert result.returncode == 0, result.stderr.decode()
    samples = np.frombuffer(result.stdout, np.float32) * 2**15
    assert len(samples) >= 32000
    assert set(samples.tolist()) == set(period.tolist())
    # One zero belongs to the sound; several in a row stand for what was lost.
    silent = samples == 0
    silent[1:-1] &= silent[:-2] | silent[2:]
    steps = np.diff(samples[~silent])
    assert set(steps.tolist()) <= {300.0, -18900.0}
    # Nothing of what ALSA and JACK print about absent cards: one line of ours, perhaps one about lost samples.
    log = sorted(result.stderr.decode().splitlines())
    assert log[0] == "microphone healthy (heard): listening to default at 16000 Hz"
    assert all(line.startswith("too slow: ") for line in log[1:])
    assert len(log) <= 2


def test_real_devices_are_listed_on_a_clean_stdout(card: Path, period: np.ndarray) -> None:
    result = run(DEVICES, card)
    assert result.returncode == 0, result.stderr.decode()
    (line,) = result.stdout.decode().splitlines()
    sawtooth_dbfs = 20 * np.log10(period.std() / 2**15)
    assert line == f"default () 128 (8000, 16000, 22050, 32000, 44100, 48000, 96000) {sawtooth_dbfs:.1f}"
    assert result.stderr == b""


def test_a_device_whose_name_is_not_utf_8_is_listed_without_what_cannot_be_read(card: Path) -> None:
    card.write_bytes(card.read_bytes().replace(b"!default", b'"M\xfcller"'))
    result = run(DEVICES, card)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.decode().startswith("M\N{REPLACEMENT CHARACTER}ller () 128")


def test_without_a_sound_card_the_microphone_is_an_audio_error(tmp_path: Path) -> None:
    config = tmp_path / "asoundrc"
    config.write_text(f"<{ALSA}>\n")
    result = run(LISTEN, config)
    assert result.returncode == 74
    assert result.stdout == b""
    assert result.stderr.decode() == (
        "There is no microphone: PortAudio knows no default input device. Connect one; affectd devices lists it.\n"
    )


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux with smaps_rollup")
def test_an_absent_microphone_can_be_sought_for_months_without_a_leak(tmp_path: Path) -> None:
    config = tmp_path / "asoundrc"
    config.write_text(f"<{ALSA}>\n")
    result = run(SEEK, config)
    assert result.returncode == 0, result.stderr.decode()
    grown_kib, descriptors, threads = map(int, result.stdout.split())
    assert grown_kib < 150
    assert descriptors <= 8
    assert threads <= 3


@pytest.mark.skipif(not find_model().exists(), reason="no model file")
@pytest.mark.parametrize("environment", [{"NOTIFY_SOCKET": "/nowhere"}, {"AFFECTD_AUDIO_WAIT": "true"}])
def test_a_service_waits_for_an_absent_microphone_and_ends_at_once_when_asked(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    config = tmp_path / "asoundrc"
    config.write_text(f"<{ALSA}>\n")
    command = [sys.executable, "-m", "affectd", "run"]
    with subprocess.Popen(
        command, env={**alsa(config), **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        event = json.loads(program.stdout.readline())
        assert (event["type"], event["state"], event["reason"]) == ("status", "alarmed", "missing")
        program.send_signal(signal.SIGTERM)
        rest, log = program.communicate(timeout=60)
    assert program.returncode == 0
    assert rest == b""
    assert log.decode().count("microphone alarmed (missing): There is no microphone") == 1


@pytest.mark.skipif(not find_model().exists(), reason="no model file")
def test_a_person_is_told_at_once_that_there_is_no_microphone(tmp_path: Path) -> None:
    config = tmp_path / "asoundrc"
    config.write_text(f"<{ALSA}>\n")
    result = subprocess.run(
        [sys.executable, "-m", "affectd", "run"], env=alsa(config), capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (74, b"")
    assert result.stderr.decode() == (
        "affectd: There is no microphone: PortAudio knows no default input device. "
        "Connect one; affectd devices lists it.\n"
    )
