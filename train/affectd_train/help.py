"""What ``--help`` and the manual page say of each command besides its options; imported only for them."""

from __future__ import annotations

import textwrap

from affectd import errors
from affectd.program.help import Example, Page, codes
from affectd_train.training.recipe import documented_numbers

_CODES = codes(
    errors.DataError,
    errors.NoInputError,
    errors.UnavailableError,
    errors.ConfigError,
    others=[
        (74, "a file cannot be read or written"),
        (130, "interrupted by Ctrl-C; what long work has done is kept"),
    ],
)


def recipe_numbers() -> str:
    """Return what ``--set`` changes: each number with its type, default and range, and the sentence about it."""
    lines = ["numbers of the recipe, for --set KEY=VALUE:"]
    for number in documented_numbers():
        lines.append(f"  {number.key}={number.default:g}  ({number.bounds()})")
        lines += textwrap.wrap(number.words, 72, initial_indent="      ", subsequent_indent="      ")
    lines += ["  spec.KEY=VALUE  what the network hears", "      (keys below [spec] in affectd-train recipe)"]
    return "\n".join(lines)


def page(command: str) -> tuple[str | None, str | None]:
    """Return what help says above and below the options of a command."""
    found = PAGES.get(command)
    if found is None:
        return None, None
    numbers = f"{recipe_numbers()}\n\n" if command in WITH_NUMBERS else ""
    return found.about, numbers + found.epilog()


WITH_NUMBERS = ("affectd-train fit", "affectd-train evaluate")
"""Commands whose help lists the numbers of the recipe, for ``--set``."""

PAGES = {
    "affectd-train": Page(
        "Makes model files for affectd on a desktop, from recordings: trains a network, tests it on people it never"
        " heard, makes it small, and packs it with a card that says what it can. Every step shows how far it is;"
        " stopped, it goes on where it was. With recordings of your own, make does it all. Step by step, as from"
        " corpora, it is evaluate, fit, quantize, pack, report.",
        (
            Example("affectd-train inspect DATA", "see what recordings there are, and what is wrong with them"),
            Example("affectd-train make DATA --out mine.tflite --quick", "make a model file of recordings of your own"),
            Example("affectd-train personalize mine --out mine.tflite", "fit one to a voice, with few recordings"),
            Example("affectd-train evaluate --data DATA --protocol ravdess-emobox", "train and test on strangers"),
            Example("affectd-train fit --data DATA --set seed=3", "train on every speaker, with another seed"),
        ),
        _CODES,
    ),
    "affectd-train inspect": Page(
        "Says what is in a folder of recordings before anything is trained on it: clips, speakers, labels, copies,"
        " clipped and silent ones, and what is left out and why. Recordings of your own are listed in labels.csv or"
        " labels.jsonl, or lie in folders named by emotion.",
        (
            Example("affectd-train inspect DATA", "see what fit would train on"),
            Example("affectd-train inspect DATA --json", "with every file that is left out"),
        ),
        _CODES,
    ),
    "affectd-train make": Page(
        "Makes a model file of recordings of your own, and its card beside it as text and as a page: inspects them,"
        " trains from the weights of a model file, tests on speakers who were left out, then trains on all and packs."
        " With 2,000 recordings or more it also tries to train from nothing, each network on speakers held back from"
        " those that train it, and takes what is righter; with fewer, and with --quick, it does not."
        " Stopped, the same command goes on where it was. The terms of the model file that it starts from hold for the"
        " result too: name models/affectd-commercial.tflite for one that allows commercial use.",
        (
            Example("affectd-train make DATA --out mine.tflite --quick", "a first try, in minutes"),
            Example("affectd-train make DATA --out mine.tflite --labels labels.txt", "with labels of your own"),
            Example("affectd-train make DATA --out mine.tflite --by-file", "where it is not known who speaks"),
        ),
        _CODES,
    ),
    "affectd-train recipe": Page(
        "Prints what a network is trained by as TOML, every key with a sentence about it. Changed in an editor, the"
        " file steers fit and evaluate; what it leaves out is as without a file. What the command line says by --set,"
        " --corpora and --teacher wins over the file.",
        (
            Example("affectd-train recipe > mine.toml", "the recipe of the shipped file, to be changed"),
            Example("affectd-train fit --data DATA --recipe mine.toml", "train by it"),
            Example("affectd-train recipe --corpora cremad,emodb", "on corpora that allow commercial use"),
            Example("affectd-train recipe --set spec.deltas=first", "with the derivatives of the MFCCs too"),
        ),
        _CODES,
    ),
    "affectd-train fit": Page(
        "Trains the network on the recordings of every speaker, for a file that is given away. How right it will be"
        " about strangers is what evaluate says. Takes about a quarter of an hour of one core, longer with a teacher.",
        (
            Example("affectd-train fit --data DATA --out runs/final", "train by the recipe of the shipped file"),
            Example("affectd-train fit --data DATA --corpora cremad,emodb", "on corpora that allow commercial use"),
            Example("affectd-train fit --data DATA --set pretrain_steps=500 --set finetune_steps=200", "a short try"),
        ),
        _CODES,
    ),
    "affectd-train sweep": Page(
        "Tries settings of the recipe: trains a network with each, several at a time, and stops those early that are"
        " behind the others (ASHA, by Ray Tune). A quarter of the speakers is held back to compare them. Ends with a"
        " table (sweep.csv), a picture (sweep.png), and the command that trains with the best settings. Stopped, the"
        " same command goes on where it was. Needs affectd[ray].",
        (
            Example("affectd-train sweep space.toml", "the page sweeps.md of the documents shows such a file"),
            Example("affectd-train sweep space.toml --out runs/rates --address auto", "on a cluster"),
        ),
        _CODES,
    ),
    "affectd-train quantize": Page(
        "Turns the trained network of a run into whole numbers of 8 bits, which small computers compute quickly.",
        (Example("affectd-train quantize runs/final", "after fit"),),
        _CODES,
    ),
    "affectd-train evaluate": Page(
        "Trains and tests by a protocol, each network on people that it did not hear in training, and prints how right"
        " it was as JSON. The protocol own is for recordings of your own; it needs to know who speaks, or is told to"
        " split by file, and then the figures flatter the networks. With --address folds run at the same time, which"
        " needs affectd[ray]; the figures are the same.",
        (
            Example("affectd-train evaluate --data DATA --protocol own --labels labels.txt", "your own recordings"),
            Example("affectd-train evaluate --data DATA --protocol own --by-file", "where it is not known who speaks"),
            Example("affectd-train evaluate --data DATA --protocol ravdess-emobox", "the protocol of the shipped file"),
            Example("affectd-train evaluate --data DATA --protocol emodb-loso", "one speaker of EmoDB after the other"),
            Example("affectd-train evaluate --data DATA --protocol emodb-loso --address", "several at the same time"),
        ),
        _CODES,
    ),
    "affectd-train unheard": Page(
        "Tests a model file on corpora of which nothing was in its training, as a room of strangers is, and prints how"
        " right it was as JSON.",
        (
            Example("affectd-train unheard models/affectd.tflite --data DATA", "on all that there are"),
            Example("affectd-train unheard --data DATA --corpora nemo,ased", "on two of them"),
        ),
        _CODES,
    ),
    "affectd-train robustness": Page(
        "Tests the networks of an evaluation on the same recordings in noise, in rooms, louder and softer, and through"
        " the codecs of telephones, and prints how right they were as JSON.",
        (
            Example("affectd-train robustness --data DATA --evaluation runs/ravdess-emobox", "all recordings"),
            Example("affectd-train robustness --data DATA --every 10", "every tenth, for a first look"),
        ),
        _CODES,
    ),
    "affectd-train behavior": Page(
        "Plays everyday speech, noise and changing voices to the device, and counts and times its events.",
        (Example("affectd-train behavior --data DATA --evaluation runs/ravdess-emobox", "the shipped file"),),
        _CODES,
    ),
    "affectd-train answers": Page(
        "Plays recordings with pauses between them to the device, and measures how soon the first event of each comes,"
        " and how right it is.",
        (Example("affectd-train answers --data DATA", "the shipped file"),),
        _CODES,
    ),
    "affectd-train pictures": Page(
        "Draws what an evaluation found: confusion, reliability, coverage, robustness, learning.",
        (Example("affectd-train pictures --evaluation runs/ravdess-emobox --out pictures", "into a folder"),),
        _CODES,
    ),
    "affectd-train curves": Page(
        "Draws how a run learned, from the logs that fit writes into its folder (pretraining-log.csv, whole-log.csv):"
        " loss and accuracy of the batches of training, and of held-out speakers where there are any. A run that is"
        " still being fine-tuned can be drawn too.",
        (Example("affectd-train curves runs/final", "into runs/final/learning.png"),),
        _CODES,
    ),
    "affectd-train explore": Page(
        "Draws what is in a folder of corpora, before anything is trained on it.",
        (
            Example("affectd-train explore DATA --out pictures", "all corpora in a folder"),
            Example("affectd-train explore DATA/emodb --out pictures", "one of them"),
        ),
        _CODES,
    ),
    "affectd-train pack": Page(
        "Writes the file that affectd reads: the network of a run, how sure it may be, what it needs to know of sound,"
        " and the card with what was measured. A file that is there already is written again only if it holds the"
        " network of the same run. Where there is no evaluation, neither here nor in runs/own or runs/ravdess-emobox,"
        " temperature and threshold are not fitted, and the file says so.",
        (
            Example(
                "affectd-train pack runs/final --evaluation runs/ravdess-emobox --out mine.tflite",
                "after quantize and evaluate",
            ),
        ),
        _CODES,
    ),
    "affectd-train voice": Page(
        "Writes a model file that gets to know who speaks where it is: the same network, and beside it what tells"
        " emotions by how a voice differs from how it usually sounds. A device that knows nothing answers as before.",
        (
            Example("affectd-train voice mine.tflite --data DATA --out voice.tflite", "after pack"),
            Example(
                "affectd-train voice mine.tflite --data DATA --corpora cremad,emodb --out voice.tflite",
                "of corpora that allow commercial use",
            ),
        ),
        _CODES,
    ),
    "affectd-train report": Page(
        "Writes the card that a model file carries, as Markdown or as one page with pictures. A file that is there"
        " already is written again only if it is a card of the same network.",
        (
            Example("affectd-train report models/affectd.tflite --out card.md", "of the shipped file"),
            Example("affectd-train report models/affectd.tflite --html card.html", "as a page"),
        ),
        _CODES,
    ),
    "affectd-train import": Page(
        "Turns a network that was trained elsewhere into a model file: a Keras file, a SavedModel, or a TFLite file,"
        " with float32 or int8. It is made int8 throughout, checked against both interpreters of the device, and"
        " packed with the front end, the normalization and the way in which it is given recordings. A softmax at its"
        " end is left to the device. Nothing of it is trained. With --hearing, KEY=VALUE says what the notebook did to"
        " a recording: start_seconds, seconds, trim_db, n_samples, centring, fill, pad_at, cut_at.",
        (
            Example(
                "affectd-train import notebook.keras --librosa n_mfcc=40,sr=16000 --labels angry,happy,sad"
                " --normalization none --clips DATA --out mine.tflite",
                "MFCCs of whole recordings as librosa gives them",
            ),
            Example(
                "affectd-train import notebook.keras --librosa n_mfcc=40,sr=16000 --labels angry,happy,sad"
                " --normalization scaler.npz --hearing trim_db=30,n_samples=48000 --clips DATA --out mine.tflite",
                "trimmed and brought to 3 s before",
            ),
        ),
        _CODES,
    ),
    "affectd-train keys": Page(
        "Makes a pair of keys (Ed25519, PEM), as openssl makes them: a private one that signs models, and a public one"
        " by which devices know them. No file is replaced. The private key decides what the devices run.",
        (Example("affectd-train keys fleet.key fleet.pub", "once, before a fleet is set up"),),
        _CODES,
    ),
    "affectd-train sign": Page(
        "Prints the message that sends a model file to a fleet: its address, size and digest, a number that grows, and"
        " the signature of all this. Published on affectd/FLEET/model and retained, every device of the fleet"
        " takes it. A message with a smaller number than the last one is refused.",
        (
            Example(
                "affectd-train sign mine.tflite --key fleet.key --fleet kiosks"
                " --url https://files.example/mine.tflite > message",
                "the file has to be at that address",
            ),
        ),
        _CODES,
    ),
    "affectd-train archive": Page(
        "Says what is heard in any number of recordings, as a table of Parquet in a folder: a row for each recording,"
        " or with --timeline for each segment. Broken recordings and the reasons are a table beside it, _broken."
        " Stopped, the same command hears what is not in the table yet. Uses every processor of this machine,"
        " or of a Ray cluster. Needs affectd[ray].",
        (
            Example("affectd-train archive calls --out table", "a folder, and all folders in it"),
            Example("affectd-train archive 'calls/2026-*/*.wav' --out table --timeline", "a row for each segment"),
            Example("affectd-train archive s3://calls/2026 --out table --address auto", "on a cluster"),
        ),
        _CODES,
    ),
    "affectd-train personalize": Page(
        "Fits the last layer of a model file again on five to twenty recordings of each label by one person or in one"
        " place, in seconds; the network stays as it is. The new file knows the labels of the recordings alone. Where"
        " it would not clearly help, by cross-validation, nothing is written. affectd personalize does the same on the"
        " device.",
        (Example("affectd-train personalize mine --out mine.tflite", "from recordings in folders named by emotion"),),
        _CODES,
    ),
}
"""The command, with the name of its program -> its page."""
