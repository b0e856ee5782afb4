"""Train the network. Reads from top to bottom: recipe, data, network, loop.

Two phases. Pretraining sees every corpus but the target: CREMA-D's 91 actors and
four times as many clips as RAVDESS has. Fine-tuning then mixes the target with
the others. Pretraining does not depend on which of the target's speakers are left
out, so all folds share it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from affectd.errors import UsageError
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip, Float32
from affectd_train.data.everyday_speech import everyday_recordings
from affectd_train.data.labels import LABELS, labels_of
from affectd_train.files import write_text
from affectd_train.training.bands import BandStore, load_bands, load_everyday, load_noise
from affectd_train.training.batches import Batches, normalization
from affectd_train.training.frame_hints import N_FRAME_HINTS, Float16, frame_hints
from affectd_train.training.muon import Muon
from affectd_train.training.network import build_network, deployed, loss
from affectd_train.training.recipe import OF_FINETUNING, Recipe, _as_json
from affectd_train.training.teacher import N_HINTS, Basis, Lesson, embeddings, lesson
from affectd_train.training.variants import versions


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
        The folder of the corpora, for its ``noise`` and ``noise/impulse_responses``.
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
        If ``out`` holds a run of another recipe, or nobody is left to train on.
    """
    claim(out, clips, recipe, held_out)
    if (out / "fit.json").exists():
        return out / "float.keras"

    # Data: bands of every corpus, and of augmented copies of the recordings.
    corpora = [name for name in recipe.corpora if any(clip.corpus == name for clip in clips)]
    noise = load_noise(data / "noise", recipe.spec) if (data / "noise").is_dir() else []
    everyday = load_everyday(data / "speech", recipe.spec) if (data / "speech").is_dir() else []
    rooms = data / "noise" / "impulse_responses"
    augmenter = Augmenter(data / "noise" if noise else None, rooms if rooms.is_dir() else None)
    labels = [label for label in LABELS if any(label in labels_of(name) for name in corpora)]
    spec = recipe.spec
    loaded = {
        name: [load_bands(mine, spec, cache, by, copy) for mine, by, copy in versions(name, clips, recipe, augmenter)]
        for name in corpora
    }
    stores = {name: BandStore.join(bands).without(held_out) for name, bands in loaded.items()}
    trained_on = [clip for store in stores.values() for clip in store.clips]
    shares = {name: recipe.shares[name] for name in corpora}
    others = {name: share for name, share in shares.items() if name != recipe.target}

    # Phase 1 sees the corpora besides the target, phase 2 the target and the rest.
    pretraining = others or shares
    store = BandStore.join([stores[name] for name in pretraining])
    if not len(store):
        raise UsageError(f"all speakers of {', '.join(pretraining)} are held out: nobody is left to train on")
    mean_std = normalization(store, recipe.spec, recipe.pretrain_frames, recipe.seed)

    def batches(store: BandStore, shares: dict[str, float], n_frames: int, seed: int) -> Batches:
        smoothing, size, taught = recipe.label_smoothing, recipe.batch_size, lecture(store) if recipe.teacher else None
        frames = [frames_of[entry] for entry in store.entries()] if frames_of else []
        return Batches(
            store,
            shares,
            labels,
            noise,
            everyday,
            spec,
            n_frames,
            mean_std,
            size,
            smoothing,
            seed,
            taught,
            recipe.teacher_share,
            frames,
            recipe.tilt_db,
        )

    # What the teacher makes of them. Like the mean and deviation, its components are those of pretraining.
    known: dict[tuple[Clip, int], Float32] = {}
    frames_of: dict[tuple[Clip, int], Float16] = {}
    if recipe.teacher:
        encoder = Path(recipe.teacher)
        for name in corpora:
            for mine, by, copy in versions(name, clips, recipe, augmenter):
                entries = [(clip, copy) for clip in mine]
                known |= dict(zip(entries, embeddings(mine, spec, encoder, cache, by, copy), strict=True))
                if recipe.frame_weight and everyday:
                    hints = frame_hints(mine, spec, encoder, data / "speech", cache, by, copy)
                    frames_of |= dict(zip(entries, hints, strict=True))
        basis = Basis.of(np.stack([known[entry] for entry in store.entries() if not entry[1]]))

    def lecture(store: BandStore) -> Lesson:
        # The teacher learns from the clips themselves, and judges their copies too.
        counts = Counter(clip.corpus for clip, copy in store.entries() if not copy)
        weights = [0.0 if copy else recipe.shares[clip.corpus] / counts[clip.corpus] for clip, copy in store.entries()]
        right = np.array([labels.index(clip.emotion) for clip in store.clips])
        x, speakers = np.stack([known[entry] for entry in store.entries()]), [clip.speaker for clip in store.clips]
        return lesson(x, basis, right, len(labels), np.array(weights, np.float32) / max(weights), speakers)

    everything = BandStore.join(list(stores.values()))
    if others and recipe.target in shares:
        scale = (1 - recipe.target_share) / sum(others.values())
        shares = {name: share * scale for name, share in others.items()} | {recipe.target: recipe.target_share}
    second = batches(everything, shares, recipe.n_frames, recipe.seed + 1)

    # Shared by all calls that agree on what pretraining depends on.
    numbers = {name: value for name, value in _as_json(recipe).items() if name not in OF_FINETUNING}
    speakers = sorted({clip.speaker for clip in store.clips})
    n_hints = min(N_HINTS, basis.axes.shape[1]) if recipe.teacher else 0
    n_frame_hints = N_FRAME_HINTS if frames_of else 0
    cost = loss(len(labels), n_hints, n_frame_hints, recipe.hint_weight, recipe.frame_weight)
    sizes = (recipe.spec.n_mfcc, len(labels), n_hints, n_frame_hints)
    keras.utils.clear_session()  # layers are counted from one again: the same network has the same description
    keras.utils.set_random_seed(recipe.seed)
    network = build_network(recipe.pretrain_frames, *sizes)
    talk = [[path.name, path.stat().st_size] for path in everyday_recordings(data / "speech")]
    surroundings = [augmenter.settings(), talk]  # who adds a noise wants it heard
    key = json.dumps([numbers, speakers, labels, len(store), surroundings, network.to_json()], sort_keys=True)
    pretrained = cache / f"pretrained-{hashlib.sha256(key.encode()).hexdigest()[:16]}.keras"
    if not pretrained.exists():
        first = batches(store, pretraining, recipe.pretrain_frames, recipe.seed)
        train(network, first, cost, recipe.pretrain_steps, recipe.pretrain_rate, recipe, pretrained, "pretraining")

    network = build_network(recipe.n_frames, *sizes)
    network.set_weights(keras.models.load_model(pretrained, compile=False).get_weights())
    # What quantization will need to see, so that it needs nothing but this folder. No noise: whatever the widest range
    # is that a tensor has here, its 256 steps are spread over it.
    np.save(out / "representative.npy", second.plain(256).astype(np.float16))
    result = out / "float.keras"
    if not result.exists():
        whole = out / "whole.keras"
        train(network, second, cost, recipe.finetune_steps, recipe.finetune_rate, recipe, whole, "fine-tuning")
        save(deployed(keras.models.load_model(whole, compile=False)), result)
        whole.unlink()
    details = {
        "recipe": _as_json(recipe),
        "labels": labels,
        "mean": mean_std[0].tolist(),
        "std": mean_std[1].tolist(),
        "speakers": sorted({clip.speaker for clip in trained_on}),
        "clips": dict(Counter(clip.corpus for clip in set(trained_on))),
    }
    write_text(out / "fit.json", json.dumps(details, indent=1))
    return result


def claim(out: Path, clips: Sequence[Clip], recipe: Recipe, held_out: Set[str]) -> None:
    """Make the folder of a run and note in ``out/asked.json`` what was asked for.

    What a finished run left, and the checkpoint of a killed one, answer to that alone.

    Raises
    ------
    UsageError
        If what was trained there was asked for differently; the message says how.
    """
    counts = {f"clips of {corpus}": n for corpus, n in sorted(Counter(clip.corpus for clip in clips).items())}
    # To JSON and back, for it knows no tuples.
    asked: dict[str, Any] = json.loads(json.dumps(_as_json(recipe) | {"held out": sorted(held_out)} | counts))
    note = out / "asked.json"
    if note.exists() and any(out.glob("*.keras")):  # a call that failed before training binds nobody
        before: dict[str, Any] = json.loads(note.read_text())
        for key in before | asked:
            if before.get(key) != asked.get(key):
                change = f"{key} {before.get(key)}, now {asked.get(key)}"
                raise UsageError(f"{out} holds a run with {change}: choose another folder, or remove this one")
    out.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(asked, indent=1))


def train(
    network: keras.Model,
    draws: Batches,
    cost: Callable[[Any, Any], Any],
    steps: int,
    rate: float,
    recipe: Recipe,
    result: Path,
    title: str,
) -> None:
    """Run one phase, with a checkpoint beside ``result`` every ``save_every`` steps, and write ``result``."""
    checkpoint = result.with_name(result.stem + "-checkpoint.keras")
    warmup = min(200, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup
    )
    # The average of the weights over the last few hundred steps generalizes better than the last ones.
    optimizer = Muon(
        schedule,
        weight_decay=recipe.weight_decay,
        adam_weight_decay=recipe.weight_decay,
        exclude_layers=["logits", "hints"],
        use_ema=True,
        ema_momentum=0.995,
    )
    network.compile(optimizer, loss=cost, jit_compile=False)
    if checkpoint.exists():
        network = keras.models.load_model(checkpoint, custom_objects={cost.__name__: cost})
    first = int(network.optimizer.iterations)
    reseed(network, first)
    log = result.with_name(result.stem + "-loss.jsonl")
    with (
        tqdm(range(first, steps), title, initial=first, total=steps, unit="step") as progress,
        log.open("a") as lines,
    ):
        for step, (x, y) in zip(progress, prefetch(draws, first, steps), strict=True):
            value = network.train_on_batch(x, y)  # (batch, n_frames, n_mfcc), (batch, n_labels and hints)
            if (step + 1) % 20 == 0:
                progress.set_postfix(loss=f"{float(value):.3f}")
            if (step + 1) % recipe.save_every == 0 and step + 1 < steps:
                lines.write(json.dumps({"step": step + 1, "loss": round(float(value), 4)}) + "\n")
                lines.flush()
                save(network, checkpoint)
                reseed(network, step + 1)
    network.optimizer.finalize_variable_values(network.trainable_variables)
    save(network, result)
    checkpoint.unlink(missing_ok=True)


def reseed(network: keras.Model, step: int) -> None:
    """Make dropout depend on the step: a Keras file does not keep the state of its random numbers."""
    for number, layer in enumerate(network.layers):
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([number, step])


def prefetch(draws: Batches, first: int, steps: int) -> Iterator[tuple[Float32, Float32]]:
    """Draw batches ahead in a thread: NumPy releases the lock for most of it."""
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(draws.draw, step) for step in range(first, min(first + 4, steps)))
        for step in range(first + 4, steps + 4):
            batch = ahead.popleft().result()
            if step < steps:
                ahead.append(pool.submit(draws.draw, step))
            yield batch


def save(network: keras.Model, path: Path) -> None:
    """Write a Keras file beside its place, then rename."""
    beside = path.with_name(f"{path.stem}.partial.keras")
    network.save(beside)
    os.replace(beside, path)
