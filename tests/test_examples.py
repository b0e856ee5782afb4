"""The examples in the docstrings of both packages, run where each finds a recording and the settings' defaults."""

from __future__ import annotations

import doctest
import os
import pkgutil
import sys
import wave
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import affectd
import affectd_train

WITH_EXAMPLES = {
    "affectd.audio.resampler.Resampler",
    "affectd.audio.source.open_source",
    "affectd.audio.source.wav_blocks",
    "affectd.audio.wav.WavReader",
    "affectd.config.loading.load_config",
    "affectd.errors",
    "affectd.events.event.EventMaker",
    "affectd.events.event.Utterance",
    "affectd.events.event.event_schema",
    "affectd.events.sinks.JsonLines",
    "affectd.events.sinks.Several",
    "affectd.features.context.CepstralContext",
    "affectd.features.context.Context",
    "affectd.features.framing.Framer",
    "affectd.features.mfcc.Mfcc",
    "affectd.features.spec.FeatureSpec",
    "affectd.mqtt.topics.Topics",
    "affectd.pipeline.run",
    "affectd.recognition.classifier.Classifier",
    "affectd.recognition.classifier.dequantize",
    "affectd.recognition.classifier.load_classifier",
    "affectd.recognition.classifier.quantize",
    "affectd.recognition.golden.self_test",
    "affectd.recognition.model_file.ModelFile",
    "affectd.recognition.model_file.find_model",
    "affectd.recognition.model_file.read_model",
    "affectd.recognition.model_file.write_model",
    "affectd.recognition.recording.classify_recording",
    "affectd.recognition.smoothing.Answer",
    "affectd.recognition.smoothing.Smoother",
    "affectd.recognition.vad.Gate",
}


def modules_with_examples() -> list[str]:
    """Name the modules whose text has an example, without importing them."""
    names = []
    for package in (affectd, affectd_train):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            spec = find_spec(module.name)
            assert spec is not None
            assert spec.origin is not None
            if ">>> " in Path(spec.origin).read_text():
                names.append(module.name)
    return names


def examples(name: str) -> list[doctest.DocTest]:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("affectd"):
            raise
        pytest.skip(f"an optional dependency is missing: {error}")
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a recording, ``clip.wav``, and no settings but the defaults."""
    with wave.open(str(tmp_path / "clip.wav"), "wb") as wav:
        wav.setparams((1, 2, 8000, 0, "NONE", ""))
        wav.writeframes(bytes(2 * 4000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("affectd.config.loading.SYSTEM_FILE", tmp_path / "none.toml")
    for variable in os.environ:
        if variable.startswith("AFFECTD_"):
            monkeypatch.delenv(variable)
    return tmp_path


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_do_what_they_say(name: str, folder: Path) -> None:
    runner = doctest.DocTestRunner()
    for test in examples(name):
        runner.run(test, out=sys.stderr.write)
    assert runner.tries > 0
    assert runner.failures == 0


def test_the_public_names_have_an_example() -> None:
    found = {test.name for name in modules_with_examples() if name.startswith("affectd.") for test in examples(name)}
    assert found >= WITH_EXAMPLES
