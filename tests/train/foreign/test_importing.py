"""A network of others answers on the device as it does in its notebook: with librosa and Keras, computed here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

import tiny_corpora
from affectd.config.sections import Config
from affectd.errors import AffectdError, DataError, UsageError
from affectd.recognition.classifier import Classifier
from affectd.recognition.hearing import Hearing
from affectd.recognition.model_file import read_model
from affectd.recognition.recording import classify_recording
from affectd_train.foreign import conversion
from affectd_train.foreign.importing import Wanted, import_network, imported
from affectd_train.foreign.librosa_call import spec_of_call
from disks import small_disk

K = keras.layers
N_FRAMES, N_MFCC, RATE = 30, 13, 16000
LABELS = ("low", "middle", "high", "highest")
Notebook = Callable[[np.ndarray], np.ndarray]
"""What a notebook gives its network for the sound of a clip."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for i in range(24):
        tone = tiny_corpora.voice(150 * 1.5 ** (i % 4) * (1 + i / 100), 0.5 + i / 30, seed=i)
        tiny_corpora.write(folder / f"{i:02d}.wav", tone)
    return folder


@pytest.fixture(autouse=True)
def same_weights() -> None:
    keras.utils.set_random_seed(2)  # before there are layers, which draw the seeds of their weights when they are made


def mfcc(sound: np.ndarray) -> np.ndarray:
    return librosa.feature.mfcc(y=sound, sr=RATE, n_mfcc=N_MFCC)


def frames(sound: np.ndarray) -> np.ndarray:
    found = mfcc(sound).T[:N_FRAMES]
    return np.pad(found, ((0, N_FRAMES - len(found)), (0, 0)))


def mel(sound: np.ndarray) -> np.ndarray:
    bands = librosa.power_to_db(librosa.feature.melspectrogram(y=sound, sr=RATE, n_mels=32), ref=np.max).T[:N_FRAMES]
    return np.pad(bands, ((0, N_FRAMES - len(bands)), (0, 0)))


def network(shape: tuple[int, ...], *layers: Any, last: str | None = "softmax") -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers, K.Dense(len(LABELS), activation=last)])


def convolutions() -> tuple[Any, ...]:
    return K.Conv1D(8, 5, padding="same", activation="relu"), K.MaxPooling1D(2), K.Conv1D(8, 3), K.GlobalMaxPooling1D()


def wanted(path: Path, clips: Path, **changes: Any) -> Wanted:
    made = Wanted(
        network=path,
        spec=spec_of_call(f"sr={RATE}, n_mfcc={N_MFCC}"),
        labels=LABELS,
        normalization=None,
        hearing=Hearing(),
        clips=clips,
        out=path.parent / "mine.tflite",
    )
    return replace(made, **changes)


def tuned(net: keras.Model, x: np.ndarray) -> keras.Model:
    """Make the answers of a network that learned nothing differ: its logits, but for their mean, are of size 2."""
    dense = net.layers[-1]
    before = keras.Model(net.inputs, net.layers[-2].output).predict(x, verbose=0)
    weights, bias = dense.get_weights()
    logits = before @ weights + bias
    gain = 2 / (logits.std(0) + 1e-9)
    dense.set_weights([weights * gain, (bias - logits.mean(0)) * gain])
    return net


def sounds(clips: Path) -> list[np.ndarray]:
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(clips.iterdir())]


def check(want: Wanted, answers: np.ndarray) -> None:
    """The device says what the notebook says, of whole recordings, in its probabilities."""
    words = imported(want)
    classifier = Classifier(read_model(want.out))
    heard = [classify_recording([sound], classifier, Config()) for sound in sounds(want.clips)]
    found = np.array([list(one.probabilities.values()) for one in heard])
    assert np.abs(found - answers).max() < 0.15, words
    assert np.abs(found - answers).mean() < 0.03, words
    assert len({one.label for one in heard}) > 1


SHAPES: dict[str, tuple[tuple[int, ...], Callable[[], tuple[Any, ...]], Notebook]] = {
    "frames": ((N_FRAMES, N_MFCC), convolutions, frames),
    "frames after a layer that normalizes": (
        (N_FRAMES, N_MFCC),
        lambda: (K.BatchNormalization(), *convolutions()),
        frames,
    ),
    "time last": (
        (N_MFCC, N_FRAMES),
        lambda: (K.Permute((2, 1)), *convolutions()),
        lambda sound: frames(sound).T,
    ),
    "a picture": (
        (N_FRAMES, N_MFCC, 1),
        lambda: (K.Conv2D(8, 3, activation="relu"), K.GlobalMaxPooling2D()),
        lambda sound: frames(sound)[:, :, None],
    ),
    "a mean": ((N_MFCC,), lambda: (K.Dense(16, activation="relu"),), lambda sound: mfcc(sound).mean(1)),
    "a mean, as a sequence": (
        (N_MFCC, 1),
        lambda: (K.Conv1D(8, 3, activation="relu"), K.Flatten()),
        lambda sound: mfcc(sound).mean(1)[:, None],
    ),
    "mean and deviation": (
        (2 * N_MFCC,),
        lambda: (K.Dense(16, activation="relu"),),
        lambda sound: np.concatenate([mfcc(sound).mean(1), mfcc(sound).std(1)]),
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_any_shape_of_input_is_given_what_the_notebook_gave(case: str, clips: Path, tmp_path: Path) -> None:
    shape, layers, notebook = SHAPES[case]
    x = np.stack([notebook(sound) for sound in sounds(clips)]).astype(np.float32)
    # What cannot be evened out in the first weights has to be normalized, as the guide says.
    lengths = [n for n in shape if n != 1]
    axis = lengths.index(N_MFCC) + 1 if N_MFCC in lengths else 1
    others = tuple(i for i in range(x.ndim) if i != axis)
    is_normalized = case in ("time last", "a picture", "a mean", "a mean, as a sequence")
    normalization = None
    if is_normalized:
        mean, std = x.mean(others), x.std(others)
        normalization = tmp_path / "normalization.npz"
        np.savez(normalization, mean=mean, std=std)
        across = [-1 if i == axis else 1 for i in range(x.ndim)]
        x = (x - mean.reshape(across)) / std.reshape(across)
    net = tuned(network(shape, *layers()), x)
    net.save(tmp_path / "notebook.keras")
    check(wanted(tmp_path / "notebook.keras", clips, normalization=normalization), net.predict(x, verbose=0))


@pytest.fixture(scope="module")
def learned(clips: Path) -> tuple[keras.Model, np.ndarray]:
    keras.utils.set_random_seed(2)
    x = np.stack([frames(sound) for sound in sounds(clips)]).astype(np.float32)
    net = tuned(network((N_FRAMES, N_MFCC), *convolutions()), x)
    return net, x


def tflite(net: keras.Model, x: np.ndarray | None = None, inside: Any = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    if x is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in x)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if inside:
            converter.inference_input_type = converter.inference_output_type = inside
    content: bytes = converter.convert()
    return content


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def saved_model(folder: Path, net: keras.Model, x: np.ndarray) -> Path:
    net.export(folder / "saved", verbose=False)
    return folder / "saved"


@pytest.mark.parametrize("form", ["Keras", "SavedModel"])
def test_it_needs_no_room_for_temporary_files(
    form: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network((N_FRAMES, N_MFCC), K.Flatten(), K.Dense(200))  # of 300 kB
    net.save(tmp_path / "mine.keras")
    net.export(tmp_path / "saved", verbose=False)
    with small_disk(tmp_path / "small") as disk, monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(disk))
        patch.setattr(tempfile, "tempdir", str(disk))
        imported(wanted(tmp_path / ("saved" if form == "SavedModel" else "mine.keras"), clips))


FORMS: dict[str, Callable[[Path, keras.Model, np.ndarray], Path]] = {
    "SavedModel": saved_model,
    "float TFLite": lambda folder, net, x: write(folder / "a.tflite", tflite(net)),
    "HDF5": lambda folder, net, x: (net.save(folder / "a.h5"), folder / "a.h5")[1],
}


@pytest.mark.filterwarnings("ignore", "default")
@pytest.mark.parametrize("form", FORMS)
def test_any_form_is_read(form: str, clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]) -> None:
    net, x = learned
    want = wanted(FORMS[form](tmp_path, net, x), clips, out=tmp_path / "mine.tflite")
    check(want, net.predict(x, verbose=0))
    assert read_model(want.out).card["imported"]["from"] == want.network.name


@pytest.mark.filterwarnings("ignore:Statistics for quantized")
@pytest.mark.parametrize("inside", [tf.int8, tf.uint8, None], ids=["int8", "uint8", "float"])
def test_an_int8_file_is_taken_as_it_is_but_for_its_softmax(
    inside: Any, clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]
) -> None:
    _, x = learned
    mean, std = x.mean((0, 1)), x.std((0, 1))
    np.savez(tmp_path / "scaler.npz", mean_=mean, scale_=std)
    x = (x - mean) / std
    net = tuned(network((N_FRAMES, N_MFCC), *convolutions()), x)
    path = write(tmp_path / "int8.tflite", tflite(net, x, inside))
    want = wanted(path, clips, normalization=tmp_path / "scaler.npz", out=tmp_path / "mine.tflite")
    check(want, net.predict(x, verbose=0))
    assert "agreement" not in read_model(want.out).card["imported"]


def test_log_mel_bands_and_logits(clips: Path, tmp_path: Path) -> None:
    x = np.stack([mel(sound) for sound in sounds(clips)]).astype(np.float32)
    net = tuned(network((N_FRAMES, 32), *convolutions(), last=None), x)
    net.save(tmp_path / "notebook.keras")
    call = f"librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr={RATE}, n_mels=32), ref=np.max)"
    logits = net.predict(x, verbose=0)
    want = wanted(tmp_path / "notebook.keras", clips, spec=spec_of_call(call))
    check(want, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


@pytest.mark.slow
def test_recurrent_layers_that_are_unrolled(clips: Path, tmp_path: Path) -> None:
    x = np.stack([frames(sound)[:8] for sound in sounds(clips)]).astype(np.float32)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x = (x - mean) / std
    net = tuned(network((8, N_MFCC), K.LSTM(8, unroll=True)), x)
    net.save(tmp_path / "notebook.keras")
    np.savez(tmp_path / "n.npz", mean=mean, std=std)
    want = wanted(tmp_path / "notebook.keras", clips, normalization=tmp_path / "n.npz")
    check(want, net.predict(x, verbose=0))


def test_what_was_left_in_float_at_random_is_quantized_again(
    clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    quantized, tries = conversion.quantized, []

    def at_random(content: bytes, contexts: Any) -> bytes:
        tries.append(content if len(tries) < 2 else quantized(content, contexts))
        return tries[-1]

    monkeypatch.setattr(conversion, "quantized", at_random)
    learned[0].save(tmp_path / "notebook.keras")
    imported(wanted(tmp_path / "notebook.keras", clips))
    assert len(tries) == 3


def test_the_card_says_what_was_imported_and_by_which_terms(
    clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]
) -> None:
    learned[0].save(tmp_path / "notebook.keras")
    words = imported(wanted(tmp_path / "notebook.keras", clips, terms="CC BY 4.0"))
    card = read_model(tmp_path / "mine.tflite").card
    assert card["name"] == "mine"
    assert card["imported"].pop("agreement") > 0.8
    expected = {"from": "notebook.keras", "kind": "Keras file", "terms": "CC BY 4.0", "contexts": 24}
    assert card["imported"] == expected
    assert "terms: CC BY 4.0" in words
    imported(wanted(tmp_path / "notebook.keras", clips))
    assert read_model(tmp_path / "mine.tflite").card["imported"]["terms"] == "not stated"


def test_what_is_no_recording_is_said_once(
    clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    learned[0].save(tmp_path / "notebook.keras")
    (tmp_path / "clips").mkdir()
    for path in clips.iterdir():
        (tmp_path / "clips" / path.name).symlink_to(path)
    (tmp_path / "clips/notes.txt").touch()
    import_network(wanted(tmp_path / "notebook.keras", tmp_path / "clips"))
    assert capfd.readouterr().err.count("skipped notes.txt") == 1


def pooled(*layers: Any, last: str | None = "softmax") -> keras.Model:
    return network((N_FRAMES, N_MFCC), *layers, K.GlobalAveragePooling1D(), last=last)


def two_inputs() -> keras.Model:
    inputs = [keras.Input((N_FRAMES, N_MFCC)) for _ in range(2)]
    return keras.Model(inputs, K.Dense(4)(K.GlobalAveragePooling1D()(K.Add()(inputs))))


REFUSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "LSTM": (lambda: network((8, N_MFCC), K.LSTM(4)), "operator WHILE, .*unroll=True"),
    "sigmoid": (lambda: pooled(last="sigmoid"), "ends in a sigmoid: each label .* softmax"),
    "a sequence": (lambda: network((N_FRAMES, N_MFCC)), r"gives a sequence, \(1, 30, 4\).*GlobalAveragePooling"),
    "two inputs": (two_inputs, "has 2 inputs, expected one"),
    "any length": (lambda: network((None, N_MFCC), K.GlobalAveragePooling1D()), "any number of frames; --frames N"),
    "other columns": (lambda: network((N_FRAMES, 40), *convolutions()), r"\(1, 30, 40\), and the front end has 13"),
    "channels": (lambda: network((N_FRAMES, N_MFCC, 3), K.Flatten()), "without further channels"),
    "no mean": (lambda: network((40,)), "neither a mean of them"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_named(case: str, clips: Path, tmp_path: Path) -> None:
    build, sentence = REFUSED[case]
    build().save(tmp_path / "notebook.keras")
    with pytest.raises(DataError, match=sentence) as caught:
        imported(wanted(tmp_path / "notebook.keras", clips))
    assert str(caught.value).startswith(f"{tmp_path / 'notebook.keras'}: ")
    assert not (tmp_path / "mine.tflite").exists()


def test_labels_have_to_be_as_many_as_outputs(
    clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]
) -> None:
    learned[0].save(tmp_path / "notebook.keras")
    with pytest.raises(DataError, match="gives 4 numbers, and --labels has 3 names"):
        imported(wanted(tmp_path / "notebook.keras", clips, labels=LABELS[:3]))


def test_an_operator_that_is_not_tflites_own_is_named(clips: Path, tmp_path: Path) -> None:
    inputs = keras.Input((N_FRAMES, N_MFCC), batch_size=1)
    net = keras.Model(inputs, K.Dense(4)(keras.ops.mean(keras.ops.erfinv(inputs), 1)))
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.allow_custom_ops = True
    path = write(tmp_path / "a.tflite", converter.convert())
    with pytest.raises(DataError, match=r"operator Erfinv, which is not one of TFLite's own"):
        imported(wanted(path, clips))


@pytest.mark.parametrize("kind", ["float16", "dynamic range"])
def test_weights_that_are_small_in_a_float_network_are_named(
    kind: str, clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]
) -> None:
    wide = tuned(pooled(K.Conv1D(64, 5), K.Conv1D(64, 3)), learned[1])
    converter = tf.lite.TFLiteConverter.from_keras_model(wide)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with pytest.raises(DataError, match="weights are stored in 8 or 16 bits"):
        imported(wanted(write(tmp_path / "a.tflite", converter.convert()), clips))


def test_time_has_to_be_said_where_the_shape_does_not_tell(clips: Path, tmp_path: Path) -> None:
    network((N_MFCC, N_MFCC), K.Flatten()).save(tmp_path / "square.keras")
    with pytest.raises(UsageError, match="--time first or --time last"):
        imported(wanted(tmp_path / "square.keras", clips))
    imported(wanted(tmp_path / "square.keras", clips, time="last"))
    assert read_model(tmp_path / "mine.tflite").layout.transposed


@pytest.mark.filterwarnings("ignore", "default")
@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_network_is_a_sentence(
    form: str, clips: Path, tmp_path: Path, learned: tuple[keras.Model, np.ndarray]
) -> None:
    path = FORMS[form](tmp_path, *learned)
    (torn,) = path.rglob("saved_model.pb") if path.is_dir() else [path]
    content = torn.read_bytes()
    for length in (8000, len(content) // 2) if form == "HDF5" else (40, len(content) // 2):
        write(torn, content[:length])
        with pytest.raises(AffectdError, match=f"^{path}: "):
            imported(wanted(path, clips))
