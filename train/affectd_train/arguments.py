"""What the commands of ``affectd-train`` take; `affectd_train.commands` runs them, `help` explains them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

from affectd.recognition.model_file import find_model
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
    "own",
)
"""Each is a function of the same name in `affectd_train.protocols`; see `protocol`."""

_MODEL_FILE = "model file (default: the one that comes with affectd)"


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
    sub = command("make", "make a model file of recordings of your own, with its card: all steps in one")
    sub.add_argument("data", type=Path, help="folder of recordings of your own")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the model file; its card comes beside it")
    _add_labels(sub)
    words = "split by file, where it is not known who speaks; the figures flatter the network"
    sub.add_argument("--by-file", action="store_true", help=words)
    words = "model file whose weights training starts from (default: the one that comes with affectd)"
    sub.add_argument("--model", type=Path, metavar="START", help=words)
    words = "train less, test less, always from the model file: 10 minutes for 500 recordings on 2 cores"
    sub.add_argument("--quick", action="store_true", help=words)
    words = "folder for what a stopped call left (default: the model file's name, ending in .work)"
    sub.add_argument("--work", type=Path, metavar="DIR", help=words)
    sub.add_argument("--replace", action="store_true", help="write the results whatever is there")
    sub = command("recipe", "print the recipe as TOML, every key with a sentence, for --recipe")
    _add_recipe(sub)
    sub = command("fit", "train the float network on every speaker")
    _add_training(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/final"), help="folder for the result")
    sub.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder for what several runs share")
    words = "leave out, such as ravdess-01,emodb-03; a name with a comma stands in double quotes"
    sub.add_argument("--hold-out", default="", metavar="SPEAKERS", help=words)
    _add_labels(sub)
    sub = command("sweep", "try settings of the recipe side by side, stop the poor ones early, say which is best")
    sub.add_argument("space", type=Path, help="file of TOML: which recordings, and which values of which settings")
    sub.add_argument("--out", type=Path, default=Path("runs/sweep"), help="folder for the table, picture and trials")
    sub.add_argument("--address", help="of a Ray cluster to join (default: this machine alone)")
    words = "how many trials at a time (default: one for each processor)"
    sub.add_argument("--workers", type=int, metavar="N", help=words)
    sub = command("quantize", "convert the float network of a run to int8")
    sub.add_argument("run", type=Path, help="folder of the run, as fit was told by --out")


def add_evaluation(command: AddCommand) -> None:
    """Add what tests."""
    sub = command("evaluate", "train and test by a named protocol, print the figures as JSON")
    _add_training(sub)
    words = f"who trains and who tests: {', '.join(PROTOCOLS)}"
    sub.add_argument("--protocol", required=True, choices=PROTOCOLS, metavar="NAME", help=words)
    sub.add_argument("--out", type=Path, help="folder for the folds (default: runs/PROTOCOL)")
    _add_labels(sub)
    words = "of the protocol own: split by file, where it is not known who speaks; the figures flatter the network"
    sub.add_argument("--by-file", action="store_true", help=words)
    words = "of the protocol own: how many folds (default: 5, or one for each speaker if they are fewer)"
    sub.add_argument("--folds", type=int, metavar="N", help=words)
    words = "run the folds at the same time: without ADDRESS on this machine, else on that Ray cluster, such as auto"
    sub.add_argument("--address", nargs="?", const="local", help=words)
    sub = command("unheard", "test a model file on corpora that it was not trained on, print figures as JSON")
    _add_data(sub, "nemo/, ased/, emotale/, ...")
    sub.add_argument("model", type=Path, nargs="?", default=find_model(), help=_MODEL_FILE)
    sub.add_argument("--corpora", help="test on these alone, such as nemo,ased (default: all it was not trained on)")
    sub.add_argument("--out", type=Path, default=Path("runs/unheard"), help="folder for what it answers")
    words = "test an evaluation's networks in noise, rooms, at any gain, through codecs"
    sub = command("robustness", words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    _add_labels(sub)
    sub.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth recording alone")
    words = "count the events of everyday speech and noise, time those of a changing voice"
    sub = command("behavior", words)
    _add_data(sub, "ravdess/, noise/, speech/, ...")
    _add_evaluation(sub)
    _add_labels(sub)
    sub.add_argument("--model", type=Path, default=find_model(), help=_MODEL_FILE)
    words = "measure how soon, and how right, a model file answers: of recordings with pauses between them"
    sub = command("answers", words)
    _add_data(sub, "corpora that the file was not trained on")
    sub.add_argument("--model", type=Path, default=find_model(), help=_MODEL_FILE)
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
    words = "folder of the evaluation (runs/own, or runs/ravdess-emobox if corpora were trained on)"
    sub.add_argument("--evaluation", type=Path, help=words)
    words = "evaluations by other protocols, for the card"
    sub.add_argument("--also", type=Path, nargs="+", default=[], metavar="RUN", help=words)
    words = "the model file (models/affectd.tflite)"
    sub.add_argument("--out", type=Path, default=Path("models/affectd.tflite"), help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    words = "write a model file that gets to know a voice, and tells from then on how it differs from itself"
    sub = command("voice", words)
    sub.add_argument("model", type=Path, help="model file whose network gives labels, as pack writes it")
    _add_data(sub, "ravdess/, cremad/, nemo/, ...")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new model file")
    words = "fit on these alone, such as cremad,emodb (default: those that the network was trained on)"
    sub.add_argument("--corpora", help=words)
    words = "folder for what the recordings say, for other calls"
    sub.add_argument("--cache", type=Path, default=Path("runs/cache"), metavar="DIR", help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    words = "write the model card that a model file carries, as Markdown or as one page with pictures"
    sub = command("report", words)
    sub.add_argument("model", type=Path, nargs="?", default=find_model(), help=_MODEL_FILE)
    sub.add_argument("--out", type=Path, help="the Markdown (default: models/README.md, unless --html is given)")
    sub.add_argument("--html", type=Path, metavar="FILE", help="a page that holds its pictures and loads nothing")
    words = "for the page: the evaluation that the card is about, for its reliability"
    sub.add_argument("--evaluation", type=Path, metavar="RUN", help=words)
    words = "for the page: folder of corpora, for examples of those that the model was trained on"
    sub.add_argument("--data", type=Path, help=words)
    sub.add_argument("--replace", action="store_true", help="write it whatever file is there")
    sub = command("personalize", "fit the last layer of a model file to one person or place")
    sub.add_argument("folder", type=Path, help="five recordings or more of each label")
    words = "model file to start from (default: the one that comes with affectd)"
    sub.add_argument("--model", type=Path, default=find_model(), help=words)
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new model file")
    _add_labels(sub)


def add_fleet(command: AddCommand) -> None:
    """Add what sends a model file to a fleet of devices."""
    sub = command("keys", "make a pair of keys: a private one to sign with, a public one for the devices")
    sub.add_argument("private", type=Path, help="the private key, which stays where models are signed")
    sub.add_argument("public", type=Path, help="the public key, for [model] trusted_keys of every device")
    sub = command("sign", "print the signed message that sends a model file to a fleet")
    sub.add_argument("model", type=Path, help="model file")
    sub.add_argument("--key", type=Path, required=True, help="the private key, as keys makes it")
    sub.add_argument("--fleet", required=True, help="[mqtt] fleet of the devices")
    sub.add_argument("--url", required=True, help="where the devices download this file, http or https")
    words = "larger than that of every message before (default: the seconds since 1970)"
    sub.add_argument("--sequence", type=int, metavar="N", help=words)


def add_archive(command: AddCommand) -> None:
    """Add what answers many recordings."""
    sub = command("archive", "say what is heard in any number of recordings, as a table of Parquet")
    sub.add_argument(
        "source", help="folder, 'pattern', list (a path a line, or Parquet), or address such as s3://calls"
    )
    sub.add_argument(
        "--out", type=Path, required=True, metavar="TABLE", help="folder for the table, which goes on there"
    )
    sub.add_argument("--timeline", action="store_true", help="a row for each segment (default: for each recording)")
    sub.add_argument("--model", type=Path, metavar="FILE", help="model file (default: the shipped one)")
    sub.add_argument("--address", help="of the Ray cluster to join, such as auto or 10.0.0.5:6379 (default: none)")
    sub.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor)")


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
    _add_data(sub, "ravdess/, tess/, cremad/, ..., or recordings of your own")
    _add_recipe(sub)


def _add_recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--recipe", type=Path, metavar="FILE", help="recipe as TOML, as affectd-train recipe prints it")
    sub.add_argument("--corpora", help="train on these alone, such as cremad,emodb (default: all that are there)")
    words = "start from the weights of a model file, with its front end"
    sub.add_argument("--start", type=Path, metavar="MODEL", help=words)
    sub.add_argument("--teacher", type=Path, metavar="ONNX", help="encoder_model.onnx of Moonshine base")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a number of the recipe, see below"
    )


def _add_labels(sub: argparse.ArgumentParser) -> None:
    words = "labels of your own recordings, each with the words for it: a line such as tired: sleepy, drowsy"
    sub.add_argument("--labels", type=Path, metavar="FILE", help=words)
