"""The device that `affectd doctor` examines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from affectd.doctor.board import Run, run_program
from affectd.errors import AffectdError

if TYPE_CHECKING:
    from affectd.audio.microphone import Stream
    from affectd.config.sections import Config
    from affectd.recognition.classifier import Classifier
    from affectd.recognition.model_file import ModelFile

Open = Callable[[int, str, int | str], "AbstractContextManager[Stream]"]


def _open_microphone(sample_rate: int, device: str, channel: int | str) -> AbstractContextManager[Stream]:
    from affectd.audio.microphone import open_microphone

    return open_microphone(sample_rate, device, channel)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device to examine: its file system below `root`, and functions that tests replace to simulate another.

    `config_path` and `model_path` are as on the command line.
    """

    config_path: str | Path | None = None
    model_path: str | Path | None = None
    root: Path = Path("/")
    run: Run = run_program
    version: Callable[[str], str | None] = _version
    open_microphone: Open = _open_microphone

    @cached_property
    def config(self) -> Config:
        """The settings; the defaults if they cannot be read, which is a check of its own."""
        from affectd.config.loading import load_config
        from affectd.config.sections import Config

        try:
            config = load_config(self.config_path)
        except AffectdError:
            return Config()
        if self.model_path is None and config.mqtt.fleet and config.model.trusted_keys:
            from affectd.delivery.installed import in_force

            config = in_force(config)
        return config

    @cached_property
    def model_file(self) -> Path:
        """The path of the model."""
        from affectd.recognition.model_file import find_model

        return find_model(self.model_path or self.config.model.path)

    @cached_property
    def model(self) -> ModelFile:
        """The model."""
        from affectd.recognition.model_file import read_model

        return read_model(self.model_file)

    @cached_property
    def classifier(self) -> Classifier:
        """The model, loaded into an interpreter."""
        from affectd.config.sections import ModelConfig
        from affectd.recognition.classifier import load_classifier

        return load_classifier(ModelConfig(path=str(self.model_path or self.config.model.path)))
