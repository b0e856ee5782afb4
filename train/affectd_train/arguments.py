"""What the commands of ``affectd-train`` take; `affectd_train.cli` runs them, `affectd_train.help` explains them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

from affectd_train.data.labels import CORPORA

PROTOCOLS = (
    "ravdess-emobox",
    "emodb-loso",
    "cremad-speakers",
    "open-terms",
    "cross-corpus",
    "leave-one-corpus-out",
    "ravdess-random",
    "tess-random",
    "pooled-random",
)
"""Each is a function of the same name in `affectd_train.protocols`; see `protocol`."""

_MODEL_FILE = "model file (models/affectd.tflite)"


class AddCommand(Protocol):
    """Adds a command."""

    def __call__(self, name: str, help_: str) -> argparse.ArgumentParser:
        """Return the parser of its arguments."""


def add_training(command: AddCommand) -> None:
    """Add what looks at recordings and trains on them."""
    sub = command("inspect", "say what recordings there are, and what is in the way of training on them")
    sub.add_argument("data", type=Path, help="folder of recordings of your own, or of corpora")
    _add_labels(sub)
    sub.add_argument("--json", action="store_true", help="print everything as JSON")
    sub = command("recipe", "print the recipe as TOML, every key with a sentence, for --recipe")
    _add_recipe(sub)
    sub.add_argument("--wide", action="store_true", help="start from the recipe that trains on all corpora")
    sub = command("fit", "train the float network on every speaker")
    _add_training(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/final"), help="folder for the result")
    sub.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for what several runs share")
    sub.add_argument("--hold-out", default="", metavar="SPEAKERS", help="leave out, such as ravdess-01,emodb-03")
    _add_labels(sub)
    sub = command("quantize", "convert the float network of a run to int8")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")


def add_evaluation(command: AddCommand) -> None:
    """Add what tests."""
    sub = command("evaluate", "train and test by a named protocol, print the figures as JSON")
    _add_training(sub)
    words = f"who trains and who tests: {', '.join(PROTOCOLS)}"
    sub.add_argument("--protocol", required=True, choices=PROTOCOLS, metavar="NAME", help=words)
    sub.add_argument("--out", type=Path, help="folder for the folds (default: runs/PROTOCOL)")
    sub = command("unheard", "test a model file on corpora that it was not trained on, print figures as JSON")
    _add_data(sub, "nemo/, ased/, emotale/, ...")
    sub.add_argument("model", type=Path, nargs="?", default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--corpora", help="test on these alone, such as nemo,ased (default: all it was not trained on)")
    sub.add_argument("--out", type=Path, default=Path("runs/unheard"), help="folder for what it answers")
    words = "test an evaluation's networks in noise, rooms, at any gain, through codecs"
    sub = command("robustness", words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    sub.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth recording alone")
    words = "count the events of everyday speech and noise, time those of a changing voice"
    sub = command("behavior", words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    sub.add_argument("--model", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    words = "measure how soon, and how right, a model file answers: of recordings with pauses between them"
    sub = command("answers", words)
    _add_data(sub, "corpora that the file was not trained on")
    sub.add_argument("--model", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--out", type=Path, default=Path("runs/answers"), help="folder for answers.json and answers.png")


def add_pictures(command: AddCommand) -> None:
    """Add what draws."""
    sub = command("pictures", "draw what an evaluation found")
    _add_evaluation(sub)
    sub.add_argument("--out", type=Path, default=Path("models"), help="folder for the PNG files")
    sub = command("curves", "draw loss and accuracy over the training of a run")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")
    sub.add_argument("--out", type=Path, metavar="PNG", help="the picture (default: learning.png in the folder)")
    sub = command("explore", "draw counts, durations, loudness, and recordings of each emotion in a corpus")
    sub.add_argument("folder", type=Path, help="folder of a corpus, or of several")
    words = f"which corpus it is, where the folder's name does not say: {', '.join(CORPORA)}"
    sub.add_argument("--corpus", choices=CORPORA, metavar="NAME", help=words)
    sub.add_argument("--out", type=Path, default=Path("runs/explore"), help="folder for the PNG files")


def add_result(command: AddCommand) -> None:
    """Add what makes the model file and its card."""
    sub = command("pack", "write the model file of a run, calibrated on the folds of an evaluation")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")
    _add_evaluation(sub)
    words = "evaluations by other protocols, for the card"
    sub.add_argument("--also", type=Path, nargs="+", default=[], metavar="RUN", help=words)
    sub.add_argument("--out", type=Path, default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    words = "write the model card that a model file carries, as Markdown or as one page with pictures"
    sub = command("report", words)
    sub.add_argument("model", type=Path, nargs="?", default=Path("models/affectd.tflite"), help=_MODEL_FILE)
    sub.add_argument("--out", type=Path, help="the Markdown (default: models/README.md, unless --html is given)")
    sub.add_argument("--html", type=Path, metavar="FILE", help="a page that holds its pictures and loads nothing")
    words = "for the page: the evaluation that the card is about, for its reliability"
    sub.add_argument("--evaluation", type=Path, metavar="RUN", help=words)
    words = "for the page: folder of corpora, for examples of those that the model was trained on"
    sub.add_argument("--data", type=Path, help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")


def add_import(command: AddCommand) -> None:
    """Add what packs networks that were trained elsewhere."""
    sub = command("import", "turn a network of your own, from Keras or as TFLite, into a model file")
    sub.add_argument("network", type=Path, metavar="NETWORK", help="Keras file, SavedModel or TFLite file")
    front_end = sub.add_mutually_exclusive_group(required=True)
    words = "front end as JSON, as affectd model prints it under features"
    front_end.add_argument("--spec", type=Path, metavar="FILE", help=words)
    words = "arguments of librosa.feature.mfcc as in the notebook, such as n_mfcc=40,sr=16000; or the call"
    front_end.add_argument("--librosa", metavar="TEXT", help=words)
    sub.add_argument("--labels", required=True, metavar="A,B,C", help="names of the outputs, in their order")
    words = "mean and standard deviation of each column: .npz, JSON or CSV; or none"
    sub.add_argument("--normalization", type=Path, required=True, metavar="FILE", help=words)
    words = "folder of recordings, a few hundred if there are: they show the ranges of its numbers"
    sub.add_argument("--clips", type=Path, required=True, metavar="FOLDER", help=words)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the model file")
    words = "how it is given a recording: whole, speech, or KEY=VALUE,... (default: whole)"
    sub.add_argument("--hearing", default="whole", metavar="HOW", help=words)
    words = "frames of one input, where the network does not say it"
    sub.add_argument("--frames", type=int, metavar="N", help=words)
    words = "which axis of the input is time, where its shape does not tell"
    sub.add_argument("--time", choices=("first", "last"), help=words)
    words = "terms of use of what it was trained on, for the card (default: not stated)"
    sub.add_argument("--terms", default="", metavar="TEXT", help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")


def _add_data(sub: argparse.ArgumentParser, folders: str) -> None:
    sub.add_argument("--data", type=Path, required=True, help=f"folder that holds {folders}")


def _add_evaluation(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--evaluation", type=Path, default=Path("runs/ravdess-emobox"), help="folder of the evaluation")


def _add_training(sub: argparse.ArgumentParser) -> None:
    _add_data(sub, "ravdess/, tess/, cremad/, ...")
    _add_recipe(sub)


def _add_recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--recipe", type=Path, metavar="FILE", help="recipe as TOML, as affectd-train recipe prints it")
    sub.add_argument("--corpora", help="train on these alone, such as cremad,emodb (default: all that are there)")
    sub.add_argument("--teacher", type=Path, metavar="ONNX", help="encoder_model.onnx of Moonshine base")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the recipe, see below"
    )


def _add_labels(sub: argparse.ArgumentParser) -> None:
    words = "labels of your own recordings, each with the words for it: a line such as tired: sleepy, drowsy"
    sub.add_argument("--labels", type=Path, metavar="FILE", help=words)
