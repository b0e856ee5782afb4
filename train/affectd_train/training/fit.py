"""Train the network. Reads from top to bottom: data, targets, network, loop.

Two phases. Pretraining sees every corpus but the target: CREMA-D's 91 actors and
four times as many clips as RAVDESS has. Fine-tuning then mixes the target with
the others. Pretraining does not depend on which of the target's speakers are left
out, so all folds share it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from affectd.arrays import Float32
from affectd.errors import DataError, UsageError
from affectd_train.backend import keras, load_network
from affectd_train.data.clips import Clip
from affectd_train.data.labels import in_order
from affectd_train.data.own import OWN, description
from affectd_train.data.surroundings import surroundings
from affectd_train.data.terms import check_may_train
from affectd_train.files import made_folder, write_array, write_json, written_whole
from affectd_train.folders import named_contents
from affectd_train.stored import Fitted, again, cached, check, locked, read_fitted, reading, sound
from affectd_train.training.bands import BandStore
from affectd_train.training.batches import Batches, held_out_contexts, normalization, prefetch
from affectd_train.training.dataset import Dataset, load_dataset
from affectd_train.training.distillation import TeacherOutputs, run_teacher
from affectd_train.training.log import DivergedError, TrainingLog
from affectd_train.training.muon import optimizer
from affectd_train.training.network import build_network, deployed, loss
from affectd_train.training.phases import Phase, phases
from affectd_train.training.recipe import OF_FINETUNING, Recipe
from affectd_train.training.start import begin, origin, read_start
from affectd_train.training.time_left import step as count_step

_LEFT = ("fit.json", "int8.tflite", "affectd.tflite", "predictions.jsonl")
"""What stays of a run where its networks in float are removed, as to save space."""

Loss = Callable[[Any, Any], Any]
"""From targets and outputs, ``(batch, n)`` tensors of Keras's backend, to ``(batch,)``."""


def fit(
    clips: Sequence[Clip],
    recipe: Recipe,
    data: Path,
    out: Path,
    cache: Path,
    held_out: Set[str] = frozenset(),
) -> Path:
    """Train on clips and write ``out/float.keras`` and ``out/fit.json``.

    A call that was killed goes on where its last checkpoint was; a call whose result is there returns at once.

    Parameters
    ----------
    clips
        Everything at hand, the clips of held-out speakers included: bands are computed once for all folds.
    data
        The folder of the corpora, for its ``noise`` and ``noise/impulse_responses``, and its ``speech``.
    out
        A folder for the result.
    cache
        A folder for what several calls share: bands, and the pretrained network.
    held_out
        Speakers to test on later; nothing they said is trained on.

    Returns
    -------
    ``out/float.keras``.

    Raises
    ------
    UsageError
        If ``out`` holds a run of another recipe, or no speaker is left to train on.
    DataError
        If no recording of one's own is left of a label.
    DivergedError
        If the loss is no number.
    """
    with made_folder(out), locked(out / "float.keras"):
        claim(out, clips, recipe, data, held_out)
        for left in out.glob("*.partial.*"):  # of a call that was killed
            left.unlink(missing_ok=True)
        return _fit(clips, recipe, data, out, cache, held_out)


def _fit(clips: Sequence[Clip], recipe: Recipe, data: Path, out: Path, cache: Path, held_out: Set[str]) -> Path:
    result = out / "float.keras"
    if finished(out, recipe):
        return result

    start = read_start(recipe.start) if recipe.start else None
    # Data: the bands of every recording and of its copies, of noise and of everyday speech.
    dataset = load_dataset(clips, recipe, data, cache, held_out)
    first, second = phases(recipe, list(dataset.stores))
    pretrain_store, full_store = dataset.join(first.shares), dataset.join(dataset.stores)
    if not len(pretrain_store):
        raise UsageError(f"all speakers of {', '.join(first.shares)} are held out: no speaker is left to train on")
    ours = {clip.emotion for clip in clips if clip.corpus == OWN}  # of corpora a network has the labels anyway
    for label in in_order(ours - {clip.emotion for clip in full_store.clips}):
        raise DataError(f"nothing of {label} is left to train on, for its recordings are held out or left out")
    mean_std = (
        (start.mean, start.std) if start else normalization(pretrain_store, recipe.spec, first.n_frames, recipe.seed)
    )

    # Targets: the labels, and what the teacher makes of the clips.
    talk = dataset.talk if dataset.everyday else []
    teacher = run_teacher(dataset.versions, pretrain_store, recipe, talk, cache)
    sizes = (len(dataset.labels), teacher.n_hints, teacher.n_frame_hints)
    objective = loss(*sizes, recipe.hint_weight, recipe.frame_weight)

    # Pretraining, shared by all calls that agree on what it depends on.
    keras.utils.clear_session()  # layers are counted from one again: the same network has the same description
    keras.utils.set_random_seed(recipe.seed)
    network = build_network(first.n_frames, recipe.spec.n_columns, *sizes, recipe.n_embedding)
    pretrained = cache / f"pretrained-{pretraining_key(recipe, dataset, pretrain_store, network)}.keras"

    def pretrain(file: Path) -> None:
        batches = batches_of(first, pretrain_store, mean_std, dataset, teacher, recipe)
        if start:  # has its pretraining behind it
            begin(network, start, dataset.labels, batches.plain(256))
            save(network, file)
        else:
            train(network, batches, objective, first, recipe, file, dataset.held_out)

    weights = cached(pretrained, partial(weights_like, network), pretrain)
    if (log := log_of(pretrained)).exists():  # so that the folder of the run tells of all its training
        with written_whole(out / "pretraining-log.csv") as beside:
            shutil.copyfile(log, beside)
    else:  # nor of that of a call that was killed, and asked for another
        (out / "pretraining-log.csv").unlink(missing_ok=True)

    # Fine-tuning.
    network = build_network(second.n_frames, recipe.spec.n_columns, *sizes, recipe.n_embedding)
    network.set_weights(weights)
    batches = batches_of(second, full_store, mean_std, dataset, teacher, recipe)
    # What quantization will need to see, so that it needs nothing but this folder. No noise: whatever the widest range
    # is that a tensor has here, its 256 steps are spread over it.
    write_array(out / "representative.npy", batches.plain(256).astype(np.float16))  # (256, n_frames, n_columns)
    if not result.exists():
        whole = out / "whole.keras"
        train(network, batches, objective, second, recipe, whole, dataset.held_out)
        save(deployed(load_network(whole, again("fit"))), result)
        whole.unlink()
    note = fitted(recipe, dataset.labels, mean_std, full_store.clips)
    write_json(out / "fit.json", note | {"start": origin(start)} if start else note)
    return result


def finished(out: Path, recipe: Recipe) -> bool:
    """Tell whether a run is complete; what of it is damaged is removed, which is said, to be made again."""
    shape = (recipe.n_frames, recipe.spec.n_columns)

    def network(path: Path) -> None:
        check(load_network(path, again("fit")).input_shape[1:] == shape, "a network of another shape")

    def contexts(path: Path) -> None:
        check(np.load(io.BytesIO(path.read_bytes())).shape[1:] == shape, "contexts of another shape")

    readers = {"float.keras": network, "representative.npy": contexts, "fit.json": lambda path: read_fitted(out)}
    there = [(out / name).exists() and sound(out / name, read) for name, read in readers.items()]
    return all(there)


def weights_like(network: keras.Model, path: Path) -> list[Float32]:
    """Read the weights of a network of the same shape."""
    weights: list[Float32] = load_network(path, again("fit")).get_weights()
    same = [weight.shape for weight in weights] == [weight.shape for weight in network.get_weights()]
    check(same, "a network of another shape")
    return weights


def claim(out: Path, clips: Sequence[Clip], recipe: Recipe, data: Path, held_out: Set[str]) -> None:
    """Make the folder of a run and note in ``out/asked.json`` what was asked for.

    What a finished run left, and the checkpoint of a killed one, answer to that alone.

    Raises
    ------
    UsageError
        If what was trained there was asked for differently, or is not known to have been asked for at all; if a corpus
        is asked for that never trains.
    """
    check_may_train({clip.corpus for clip in clips})
    counts = {f"clips of {corpus}": n for corpus, n in sorted(Counter(clip.corpus for clip in clips).items())}
    beside = surroundings(data, bool(recipe.everyday_by_source))
    described = recipe.as_json() | {"held out": sorted(held_out)} | counts | description(clips) | beside
    asked: dict[str, object] = json.loads(json.dumps(described))  # to JSON and back, for it knows no tuples
    note = out / "asked.json"
    left = [path.name for path in (*out.glob("*.keras"), *(out / name for name in _LEFT)) if path.exists()]
    if left and not note.exists():
        raise UsageError(f"{out} holds {left[0]}, and no {note.name} that says what it is of: choose another folder")
    if left:  # what failed before training may be asked for differently
        with reading(note, "remove the folder, or choose another"):
            before: dict[str, object] = json.loads(note.read_text())
            check(isinstance(before, dict), "not an object")
        before = beside | before  # which earlier versions did not write
        for key in before | asked:
            if before.get(key) != asked.get(key):
                change = f"{key} {before.get(key)}, now {asked.get(key)}"
                raise UsageError(f"{out} holds a run with {change}: choose another folder, or remove this one")
    write_json(note, asked)


def batches_of(
    phase: Phase,
    store: BandStore,
    mean_std: tuple[Float32, Float32],
    dataset: Dataset,
    teacher: TeacherOutputs,
    recipe: Recipe,
) -> Batches:
    """Say how a phase batches from a store."""
    return Batches(
        store=store,
        shares=phase.shares,
        labels=dataset.labels,
        noise=dataset.noise,
        everyday=dataset.everyday,
        spec=recipe.spec,
        n_frames=phase.n_frames,
        normalization=mean_std,
        batch_size=recipe.batch_size,
        label_smoothing=recipe.label_smoothing,
        seed=phase.seed,
        taught=teacher.soft_targets(store, dataset.labels, recipe.shares),
        teacher_share=recipe.teacher_share,
        frames=teacher.frames_of(store),
        tilt_db=recipe.tilt_db,
        has_noise_floor=bool(recipe.noise_floor),
    )


def pretraining_key(recipe: Recipe, dataset: Dataset, store: BandStore, network: keras.Model) -> str:
    """Name all that pretraining depends on."""
    numbers = {name: value for name, value in recipe.as_json().items() if name not in OF_FINETUNING}
    speakers = sorted({clip.speaker for clip in store.clips})
    talk = named_contents(dataset.talk)
    clips = named_contents([clip.path for clip in store.clips])
    surroundings = [dataset.augmenter.settings(), talk]  # a noise that is added is meant to be heard
    emotions = [clip.emotion for clip in store.clips]  # which may be corrected
    depends = [numbers, speakers, dataset.labels, clips, surroundings, network.to_json(), *emotions]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def log_of(result: Path) -> Path:
    """Name the log of what is trained into a file; see `affectd_train.training.log`."""
    return result.with_name(result.stem + "-log.csv")


def train(
    network: keras.Model,
    batches: Batches,
    objective: Loss,
    phase: Phase,
    recipe: Recipe,
    result: Path,
    held_out: Mapping[str, BandStore],
) -> None:
    """Run one phase, with a checkpoint beside ``result`` every ``save_every`` steps, and write ``result``.

    Of ``held_out``, what is of the corpora of the phase is only looked at, for the log: nothing is chosen by it.
    """
    checkpoint = result.with_name(result.stem + "-checkpoint.keras")

    def resume(path: Path) -> keras.Model:
        found = load_network(path, again("fit"), {objective.__name__: objective})
        check(found.output_shape == network.output_shape, "a network of another shape")
        check(0 < int(found.optimizer.iterations) < phase.steps, "a checkpoint of another phase")
        return found

    if checkpoint.exists() and sound(checkpoint, resume):
        network = resume(checkpoint)
    else:
        network.compile(optimizer(phase.steps, phase.rate, recipe.weight_decay), loss=objective, jit_compile=False)
        network.optimizer.build(network.trainable_variables)  # in the first step, it would have that step traced twice
    first = int(network.optimizer.iterations)
    reseed(network, first)
    validation = held_out_contexts([held_out[name] for name in phase.shares if name in held_out], batches)
    log = TrainingLog(log_of(result), first, len(batches.labels), validation)

    def note(step: int) -> None:
        log.add(step, network.predict_on_batch, float(network.optimizer.learning_rate))

    steps = tqdm(range(first, phase.steps), phase.title, initial=first, total=phase.steps, unit="step")
    with steps:
        for step, (x, y) in zip(steps, prefetch(batches, first, phase.steps), strict=True):
            value = float(network.train_on_batch(x, y))  # (batch, n_frames, n_columns), (batch, n_labels and hints)
            if not math.isfinite(value):
                checkpoint.unlink(missing_ok=True)  # from which it would go the same way
                where = f"{phase.title} diverged at step {step + 1}"
                raise DivergedError(f"{where}: its loss is {value}; lower {phase.rate_name}")
            log.seen((x, y), value)
            of_all = count_step(step + 1)
            if (step + 1) % 20 == 0:
                steps.set_postfix(loss=f"{value:.3f}", **of_all)
            if (step + 1) % recipe.save_every == 0 and step + 1 < phase.steps:
                note(step + 1)  # first: a row without its checkpoint is dropped, a checkpoint without its row a gap
                save(network, checkpoint)
                reseed(network, step + 1)
    if phase.steps:  # else there is no average
        network.optimizer.finalize_variable_values(network.trainable_variables)
        note(phase.steps)
    save(network, result)
    checkpoint.unlink(missing_ok=True)


def reseed(network: keras.Model, step: int) -> None:
    """Make dropout depend on the step: a Keras file does not keep the state of its random numbers."""
    for number, layer in enumerate(network.layers):
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([number, step])


def save(network: keras.Model, path: Path) -> None:
    """Write a Keras file, whole or not at all."""
    with written_whole(path) as beside:
        network.save(beside)


def fitted(recipe: Recipe, labels: list[str], mean_std: tuple[Float32, Float32], trained_on: Sequence[Clip]) -> Fitted:
    """Put down what the next commands need to know about a run."""
    return Fitted(
        recipe=recipe.as_json(),
        labels=labels,
        mean=mean_std[0].tolist(),
        std=mean_std[1].tolist(),
        speakers=sorted({clip.speaker for clip in trained_on} - {""}),
        clips=dict(Counter(clip.corpus for clip in sorted(set(trained_on)))),
    )
