"""PortAudio and the devices it finds; PyAudio is imported on first use."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

from affectd.errors import MicrophoneError, UnavailableError
from affectd.stdio import quiet

# At the end of the program, which is to end within a second.
_BRIEF_SECONDS = 0.2
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Microphone:
    """An input device as PortAudio sees it."""

    index: int
    """PortAudio's number, which changes when devices come and go."""
    name: str
    n_channels: int
    """Maximum."""
    sample_rate: int
    """Default, Hz."""


@contextmanager
def port_audio() -> Iterator[tuple[Any, Any]]:
    """Import PyAudio, start PortAudio, give both; terminate it at the end."""
    with quiet():
        try:
            module = importlib.import_module("pyaudio")
        except ImportError as error:
            raise UnavailableError(
                f"The microphone needs PyAudio, which cannot be imported ({error}): sudo apt install "
                "portaudio19-dev python3-dev gcc, then pip install pyaudio."
            ) from error
        if os.path.expanduser("~") == "~":  # neither the environment nor the system knows one: libraries of C crash
            os.environ["HOME"] = "/"
        try:
            audio = apart(module.PyAudio)
        except OSError as error:
            raise MicrophoneError("refused", f"PortAudio does not start: {error}.") from error
    try:
        yield module, audio
    finally:
        close(audio.terminate)
        _keep_loaded()


def close(function: Callable[[], object]) -> None:
    """Call a function of PortAudio that closes something, as `apart`; it may fail, as after an unplugging."""
    with suppress(OSError):
        apart(function)


def apart(function: Callable[[], _Result]) -> _Result:
    """Call a function of PortAudio in the thread for that: it may hang in a sound server, where no signal ends it.

    A handler of a signal that raises leaves the call behind. In a ``finally`` after that, or of a generator that is
    closed, it is waited for only briefly, because events wait to be written. The next call waits for its end.

    Raises
    ------
    OSError, ValueError
        It did; or it was left behind.
    """
    done = threading.Lock()
    done.acquire()
    results: list[_Result] = []
    failures: list[Exception] = [TimeoutError("PortAudio does not answer")]

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:
            failures[0] = error
        finally:
            done.release()

    is_ending = not issubclass(sys.exc_info()[0] or Exception, Exception)
    _calls().put(call)
    # In turns: a signal that comes just before a wait does not end it, and its handler runs after that turn.
    while not done.acquire(timeout=_BRIEF_SECONDS) and not is_ending:
        pass
    if not results:
        raise failures[0]
    return results[0]


@cache
def _calls() -> SimpleQueue[Callable[[], None]]:
    """Return what one thread calls, one after the other.

    A thread for each call would take more memory each time that two overlap: what a library keeps is kept for each.
    """
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def work() -> None:
        while True:
            calls.get()()

    threading.Thread(target=work, name="sound card", daemon=True).start()
    return calls


@cache
def _keep_loaded() -> None:
    """Keep libpixman loaded, because it leaks 12 kB each time it is loaded.

    Each start of PortAudio loads and unloads ALSA's plugins; the one for A/52 depends on libpixman. Without this,
    waiting for a microphone leaks 14 MB an hour.
    """
    with suppress(OSError):  # not installed
        ctypes.CDLL("libpixman-1.so.0")


def microphones(audio: Any) -> list[Microphone]:
    """Return every device of a running PortAudio that can record.

    Raises
    ------
    MicrophoneError
        ``missing`` if PortAudio cannot describe its devices.
    """
    try:
        devices = [audio.get_device_info_by_index(index) for index in range(audio.get_device_count())]
    except OSError as error:
        raise MicrophoneError("missing", f"PortAudio cannot list the sound cards: {error}.") from error
    return [_microphone(device) for device in devices if device["maxInputChannels"] > 0]


def default_microphone(audio: Any) -> Microphone:
    """Return the default input device of a running PortAudio.

    Raises
    ------
    MicrophoneError
        ``missing`` if there is none.
    """
    try:
        return _microphone(audio.get_default_input_device_info())
    except OSError as error:
        sentence = "There is no microphone: PortAudio knows no default input device."
        raise MicrophoneError("missing", f"{sentence} Connect one; affectd devices lists it.") from error


def _microphone(device: dict[str, Any]) -> Microphone:
    name = device["name"]
    return Microphone(
        index=int(device["index"]),
        name=name if isinstance(name, str) else name.decode(errors="replace"),  # bytes, if they are not UTF-8
        n_channels=int(device["maxInputChannels"]),
        sample_rate=round(device["defaultSampleRate"]),
    )
