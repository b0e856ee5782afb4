"""Every number that training depends on, and how it reads as JSON and on the command line.

Imports neither Keras nor any array library, so that a report reads it in no time.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from affectd.errors import UsageError
from affectd.features.spec import FeatureSpec
from affectd_train.training import recipe_spec

if TYPE_CHECKING:
    from affectd.recognition.model_file import ModelFile

SHARES = {
    "ravdess": 4.0,
    "tess": 2.0,
    "cremad": 7.0,
    "savee": 1.0,
    "emodb": 1.0,
    "nemo": 2.0,
    "ased": 3.0,  # 65 voices, but most of its sentences belong to one emotion
    "emotale": 2.0,
    "emospeech": 0.5,  # weak labels
    "turev": 0.25,  # weak labels, single words
}
"""corpus -> share of a batch: by number of voices rather than of clips (TESS is two women, 2,800 clips)."""

SHIPPED = ("ravdess", "tess", "cremad", "emodb", "nemo", "ased", "emotale", "emospeech", "turev")
"""The corpora of the file in ``models/``; SAVEE is left to be tested on."""

_OWN = ("own",)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number that training depends on; its JSON is stored with the weights.

    Examples
    --------
    >>> recipe = Recipe(pretrain_steps=500, corpora=("emodb",))
    >>> recipe.n_frames * recipe.spec.hop_length / recipe.spec.sample_rate  # seconds that the network sees
    3.008
    """

    # More cepstra than is usual: 40 do not hold the harmonics of a low voice, 64 do.
    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec(n_mfcc=64))
    """The front end: what the network hears. MFCCs, and further columns beside them where one is not "none"."""
    n_frames: int = 188
    """Frames that the network sees, 16 ms each: 3.0 s of sound."""
    pretrain_frames: int = 128
    """Frames that it sees while it is pretrained: 2.0 s, as long as most clips, which is faster and no worse."""
    corpora: tuple[str, ...] = SHIPPED
    """Corpora to train on, as far as they are there."""
    # Model file whose weights training starts from, with its front end; "" starts from nothing. See `with_start`.
    start: str = ""
    target: str = "ravdess"
    """Corpus that fine-tuning is for; an evaluation takes the one it tests on."""
    shares: dict[str, float] = field(default_factory=lambda: dict(SHARES))
    """Share of a batch that each corpus has, beside those of the others."""
    target_share: float = 0.5
    """Share of the batches of fine-tuning that is of the target, the corpus that the protocol tests on."""
    augmented_copies: int = 4
    """Copies of every recording, each in another voice; of large corpora there are fewer."""
    batch_size: int = 64
    """Clips in a batch."""
    label_smoothing: float = 0.05
    """Share of the target probabilities that is spread over all labels."""
    teacher: str = ""
    """File encoder_model.onnx of Moonshine base; "" trains on labels alone."""
    teacher_share: float = 0.5
    """Share of the target probabilities that the teacher gives; the rest is the label's."""
    hint_weight: float = 1.0
    """Weight of the squared error of the teacher's hints, beside the cross-entropy."""
    frame_weight: float = 1.0
    """Weight of the squared error of the hints for single frames; 0 does without them."""
    n_embedding: int = 0
    """Numbers that the int8 network gives instead of logits, for a head that gets to know a place; 0: logits."""
    tilt_db: float = 2.0
    """How far the microphones that clips are made to come from differ in tone, dB."""
    weight_decay: float = 0.01
    """How strongly weights are drawn towards 0."""
    pretrain_steps: int = 8000
    """Batches of pretraining, on every corpus but the target."""
    pretrain_rate: float = 6e-3
    """Highest learning rate of pretraining."""
    finetune_steps: int = 3500
    """Batches of fine-tuning, on the target and a part of the others."""
    finetune_rate: float = 2e-3
    """Highest learning rate of fine-tuning."""
    save_every: int = 200
    """Batches between two checkpoints, from which an interrupted training goes on."""
    seed: int = 0
    """Number from which all that is random follows."""
    everyday_by_source: int = 1
    """1: whole sources of everyday speech train and the others test; 0: half of one source trains."""
    noise_floor: int = 0
    """1: every clip gets a floor of noise, so that digital silence does not tell a corpus; 0: none."""

    def as_json(self) -> dict[str, Any]:
        """Return all fields, fit for JSON: of the teacher and the start what they are, not where they lie.

        `LATER` fields of no effect, and no start, are left out: what was made before there were any stays of the same
        recipe.
        """
        digests = {name: _digest(path) for name in ("teacher", "start") if (path := getattr(self, name))}
        fields = {
            name: value for name, value in dataclasses.asdict(self).items() if value or name not in (*LATER, "start")
        }
        return fields | {"spec": self.spec.to_dict()} | digests


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def with_corpora(recipe: Recipe, corpora: Iterable[str]) -> Recipe:
    """Train on other corpora, each with the share that the recipe has for it, else with that of `SHARES`.

    Examples
    --------
    >>> with_corpora(Recipe(), ["emodb", "nemo"]).shares["nemo"]
    2.0
    """
    names = tuple(corpora)
    added = {name: SHARES[name] for name in names if name not in recipe.shares}
    return dataclasses.replace(recipe, corpora=names, shares=recipe.shares | added)


def with_own(recipe: Recipe) -> Recipe:
    """Train on one's own recordings alone; of a folder ``speech`` among them a half is left to be tested on."""
    return dataclasses.replace(recipe, corpora=_OWN, target="own", shares={"own": 1.0}, everyday_by_source=0)


def with_start(recipe: Recipe, path: Path, model: ModelFile) -> Recipe:
    """Start from the weights of a model file, whose front end is taken over: a short training at a low rate."""
    return dataclasses.replace(
        recipe,
        start=str(path),
        spec=model.spec,
        n_frames=model.n_frames,
        pretrain_frames=model.n_frames,
        n_embedding=0 if model.head is None else model.head.n_embedding,
        pretrain_steps=0,
        finetune_steps=START_STEPS,
        finetune_rate=START_RATE,
    )


START_STEPS, START_RATE = 400, 2e-3
"""Batches of fine-tuning, and its highest learning rate, from the weights of a model file."""


_OF_START = ("n_frames", "pretrain_frames", "n_embedding", "pretrain_steps")


PER_CORPUS = 1500
"""Copies in other voices that a corpus has at most, or one of each recording."""

OF_FINETUNING = ("target_share", "finetune_steps", "finetune_rate")
"""Numbers of the recipe that pretraining does not depend on."""

LATER = ("everyday_by_source", "n_embedding", "noise_floor")
"""Numbers of the recipe that earlier files do without, as 0 does."""

_RANGES: dict[str, tuple[int, int]] = {
    "n_frames": (1, 4096),
    "pretrain_frames": (1, 4096),
    "batch_size": (1, 4096),
    "save_every": (1, 2**31 - 1),
    "augmented_copies": (0, 100),
    "everyday_by_source": (0, 1),
    "noise_floor": (0, 1),
    "n_embedding": (0, 1024),
    "target_share": (0, 1),
    "teacher_share": (0, 1),
    "label_smoothing": (0, 1),
}
"""Lowest and highest value of numbers that are not 0 or more."""

_USUAL = (0, 2**31 - 1)

_OTHER_PHASE = {
    "pretrain_steps": "finetune_steps",
    "pretrain_rate": "finetune_rate",
    "finetune_steps": "pretrain_steps",
    "finetune_rate": "pretrain_rate",
}


def swap_phases(recipe: Recipe) -> Recipe:
    """Give the steps and rates of pretraining to fine-tuning, and the reverse.

    Examples
    --------
    >>> swap_phases(Recipe(pretrain_steps=5, finetune_steps=7)).pretrain_steps
    7
    """
    return dataclasses.replace(recipe, **{name: getattr(recipe, other) for name, other in _OTHER_PHASE.items()})


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Change numbers of a recipe by ``KEY=VALUE``, and its front end by ``spec.KEY=VALUE``.

    Raises
    ------
    UsageError
        If the recipe has no such number, or the value is none.

    Examples
    --------
    >>> with_settings(Recipe(), ["seed=3", "tilt_db=1"]).tilt_db
    1.0
    >>> with_settings(Recipe(), ["spec.n_mfcc=40", "spec.deltas=first"]).spec.n_columns
    80
    """
    changes: dict[str, Any] = {}
    numbers = _numbers()
    of_front_end = []
    for setting in settings:
        key, _, value = setting.partition("=")
        if key.startswith("spec."):
            of_front_end.append(setting)
            continue
        if key not in numbers:
            near = difflib.get_close_matches(key, numbers, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--set {setting}: the recipe has no number of this name{hint}")
        try:
            changes[key] = type(numbers[key])(value)
        except (ValueError, OverflowError):
            raise UsageError(f"--set {setting}: {value!r} is no {type(numbers[key]).__name__}") from None
        if wrong := out_of_range(key, changes[key]):
            raise UsageError(f"--set {setting}: {wrong}")
    return dataclasses.replace(recipe, **changes, spec=_front_end(recipe, of_front_end))


def _front_end(recipe: Recipe, settings: Sequence[str]) -> FeatureSpec:
    """Change the front end by all settings at once, for some are possible only with others, in whatever order."""
    pairs = [setting.removeprefix("spec.").partition("=") for setting in settings]
    try:
        return recipe_spec.changed_spec(recipe.spec, {key: recipe_spec.from_text(value) for key, _, value in pairs})
    except ValueError as error:
        raise UsageError(f"--set {' --set '.join(settings)}: {error}") from None


def out_of_range(key: str, value: float) -> str:
    """Say what a number of the recipe must be, if it is not.

    Examples
    --------
    >>> out_of_range("target_share", 2), out_of_range("target_share", 0.5)
    ('must be 1 or less', '')
    """
    lowest, highest = _RANGES.get(key, _USUAL)
    if value < lowest:
        return f"must be {lowest} or more"
    return "" if value <= highest else f"must be {highest} or less" if value > highest else "must be a number"


class Number(NamedTuple):
    """A number of the recipe that ``--set`` changes."""

    key: str
    kind: str
    """``int`` or ``float``."""
    default: float
    lowest: float
    highest: float
    words: str
    """The sentence about it."""

    def bounds(self) -> str:
        """Say what type it is of, and from where to where it goes."""
        usual = f"{self.lowest} or more"
        return f"{self.kind}, {usual if self.highest == _USUAL[1] else f'{self.lowest} to {self.highest}'}"


def documented_numbers() -> list[Number]:
    """Return every number that `with_settings` changes, with the sentence below it in `Recipe`.

    Examples
    --------
    >>> [number.words for number in documented_numbers() if number.key == "batch_size"]
    ['Clips in a batch.']
    """
    words = sentences()
    return [
        Number(key, type(value).__name__, value, *_RANGES.get(key, _USUAL), words[key])
        for key, value in _numbers().items()
    ]


def sentences() -> dict[str, str]:
    """Return the sentence below each field in the source of `Recipe`."""
    import ast

    (recipe,) = (
        node
        for node in ast.parse(Path(__file__).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == Recipe.__name__
    )
    return {
        statement.target.id: str(below.value.value)
        for statement, below in itertools.pairwise(recipe.body)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _numbers() -> dict[str, int | float]:
    return {key: value for key, value in dataclasses.asdict(Recipe()).items() if isinstance(value, int | float)}


def options_of(recipe: Mapping[str, Any]) -> str:
    """Say what ``affectd-train`` has to be told to train by a recipe, given as the JSON in ``fit.json``.

    Examples
    --------
    >>> options_of({"teacher": "c9a5d5b0f1b6e0d2", "seed": 3})
    '--teacher encoder_model.onnx --set seed=3'
    """
    usual, names = Recipe(), {}
    if recipe.get("target") == "cremad":  # for which the protocol of CREMA-D swapped them
        usual, names = swap_phases(usual), _OTHER_PHASE
    numbers = {key: value for key, value in dataclasses.asdict(usual).items() if isinstance(value, int | float)}
    corpora = tuple(recipe.get("corpora", usual.corpora))
    words = [] if corpora in (usual.corpora, _OWN) else [f"--corpora {','.join(corpora)}"]
    words += ["--teacher encoder_model.onnx"] if recipe.get("teacher") else []
    if recipe.get("start"):
        words.append("--start START.tflite")
        numbers |= {"finetune_steps": START_STEPS, "finetune_rate": START_RATE}
        numbers = {key: value for key, value in numbers.items() if key not in _OF_START}
    if recipe.get("target") == "own":
        numbers |= {"everyday_by_source": 0}  # see `with_own`
    whole = dict.fromkeys(LATER, 0) if "corpora" in recipe else {}  # a part says nothing of what it lacks
    found = {key: value for key, value in {**whole, **recipe}.items() if numbers.get(key, value) != value}
    words += [f"--set {names.get(key, key)}={found[key]}" for key in sorted(found)]
    spec = recipe_spec.as_settings(recipe["spec"], usual.spec) if "spec" in recipe else []
    return " ".join(words + [f"--set spec.{setting}" for setting in spec])
