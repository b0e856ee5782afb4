"""What ``--help`` and the manual page say of a command besides its options: what it does, examples, exit codes.

Imported only for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from affectd import errors
from affectd.errors import AffectdError

UNFORESEEN = (70, "an unforeseen error; the message says where its traceback is")
INTERRUPTED = (130, "interrupted by Ctrl-C")


class Example(NamedTuple):
    """A command that can be typed as it stands, and what it is for."""

    command: str
    words: str


class Page(NamedTuple):
    """What is said of a command; `codes` are its exit codes besides 0, each with what it means."""

    about: str
    examples: tuple[Example, ...]
    codes: tuple[tuple[int, str], ...]

    def epilog(self) -> str:
        """Return examples and exit codes as they stand below the options."""
        examples = "\n\n".join(f"  # {words}\n  {command}" for command, words in self.examples)
        codes = "\n".join(f"  {code:3}  {words}" for code, words in ((0, "done"), *self.codes))
        return f"examples:\n{examples}\n\nexit codes:\n{codes}"


def codes(
    *kinds: type[AffectdError], others: Sequence[tuple[int, str]] = (INTERRUPTED,)
) -> tuple[tuple[int, str], ...]:
    """Return exit codes with what they mean: those of these failures, of `others`, and what can always happen."""
    meant = dict([UNFORESEEN])
    usual: tuple[type[AffectdError], ...] = (errors.UsageError,)
    for kind in usual + kinds:
        sentence = (kind.__doc__ or "").partition(".")[0]
        meant[kind.exit_code] = sentence[:1].lower() + sentence[1:]
    return tuple(sorted((meant | dict(others)).items()))


_RECORDING = (errors.DataError, errors.NoInputError)
_MODEL = (errors.UnavailableError, errors.ConfigError)

PAGES = {
    "affectd": Page(
        "Listens, and says how the voices that it hears sound: happy, sad, angry and so on, or uncertain. Sound is"
        " neither stored nor sent. Where it listens, people must be told. Results go to standard output, all else to"
        " standard error.",
        (
            Example("affectd run", "say what is heard in the microphone"),
            Example("affectd classify talk.wav", "say what is heard in a recording"),
            Example("affectd doctor", "find out why it does not work"),
        ),
        codes(*_RECORDING, *_MODEL, errors.AudioError),
    ),
    "affectd run": Page(
        "Prints an event where an emotion begins, changes and ends in a voice, until the sound ends, or Ctrl-C, which"
        " is no failure here. It is also what the service runs: with [mqtt] enabled, the events go to the broker, too.",
        (
            Example("affectd run", "listen to the default microphone"),
            Example("affectd run --source talk.wav", "the same of a recording, as fast as possible"),
            Example("affectd run --source talk.wav --format csv > talk.csv", "its events for a spreadsheet"),
            Example("affectd run --source - < talk.wav", "WAV or raw 16-bit PCM from another program"),
        ),
        codes(*_RECORDING, *_MODEL, errors.AudioError, others=()),
    ),
    "affectd classify": Page(
        "Says of each recording as a whole what is heard most in it. Where the best guess is less probable than the"
        " threshold of the device, it is called uncertain. Of a folder all WAV files are read, also those in folders"
        " in it; what is left out is said. Memory does not grow with the length of a recording.",
        (
            Example("affectd classify talk.wav", "one recording"),
            Example("affectd classify talks", "all WAV files in a folder"),
            Example("affectd classify --format csv talks > talks.csv", "the same for a spreadsheet"),
            Example("affectd classify - < talk.wav", "WAV or raw 16-bit PCM from another program"),
        ),
        codes(*_RECORDING, *_MODEL),
    ),
    "affectd watch": Page(
        "Shows live on a terminal how loud it is, whether it may be speech, what the voice sounds like and how sure"
        " that is. For finding the right place for a microphone, and for seeing whether it hears you. A recording is"
        " played in real time. Ctrl-C, which is no failure here, ends it.",
        (
            Example("affectd watch", "watch the default microphone"),
            Example("affectd watch --source talk.wav", "a recording as it sounds"),
            Example("affectd watch --url http://kitchen.local:8765/", "what another device hears, if it has a page"),
        ),
        codes(*_RECORDING, *_MODEL, errors.AudioError, others=()),
    ),
    "affectd timeline": Page(
        "Says for each stretch of speech in a recording what it sounds like: a table for people, or what other programs"
        " read: CSV, JSON, labels for Audacity, a TextGrid for Praat, subtitles, a picture, or a page that plays the"
        " sound.",
        (
            Example("affectd timeline talk.wav", "a table"),
            Example("affectd timeline --period 60 talk.wav", "how much of each minute sounds like what"),
            Example("affectd timeline --format html talk.wav > talk.html", "a page to look at and listen to"),
        ),
        codes(*_RECORDING, *_MODEL),
    ),
    "affectd record": Page(
        "Records the microphone into a WAV file for you alone, after asking whether everyone who can be heard knows."
        " It never writes over a file. Nothing else in affectd stores sound.",
        (
            Example("affectd record talk.wav --seconds 30", "half a minute"),
            Example("affectd record happy-1.wav --seconds 5 --label happy --trim", "a word, without the silence"),
        ),
        codes(*_MODEL, errors.AudioError, errors.NoInputError),
    ),
    "affectd devices": Page(
        "Lists the microphones with their level now: speak, and see which one hears you. Write one of its stable names"
        " into [audio] device; after a restart it is still the same microphone.",
        (
            Example("affectd devices", "all of them"),
            Example("affectd devices --format json", "the same for a program"),
        ),
        codes(errors.UnavailableError),
    ),
    "affectd model": Page(
        "Says what the model hears, what it was trained on, and how right it is.",
        (
            Example("affectd model", "the model in use"),
            Example("affectd model --self-test", "also check that this device computes it correctly"),
        ),
        codes(*_MODEL),
    ),
    "affectd baseline": Page(
        "Shows how well the device knows how people usually sound where it stands. It needs a model file that can get"
        " to know a place, and to change anything, the service must be stopped.",
        (
            Example("affectd baseline", "what was learned so far"),
            Example("affectd baseline --enroll --source talk.wav", "learn from a recording of ordinary speech"),
            Example("affectd baseline --reset", "forget it, for instance after the device was moved"),
        ),
        codes(*_RECORDING, *_MODEL, errors.AudioError),
    ),
    "affectd personalize": Page(
        "Makes a model file for one person or place from five to twenty recordings of each label: its last layer is"
        " fitted again, in seconds. The new file knows the labels of the recordings alone. Where it would not clearly"
        " help, by cross-validation, nothing is written.",
        (
            Example("affectd record mine/happy-1.wav --seconds 5 --label happy --trim", "make one recording of many"),
            Example("affectd personalize mine --out mine.tflite", "fit the model to all of them"),
            Example("affectd run --model mine.tflite", "listen with the new file"),
        ),
        codes(*_RECORDING, *_MODEL),
    ),
    "affectd config": Page(
        "Prints the settings in force as a file of settings, each with where it came from: the default, the file, a"
        " variable AFFECTD_SECTION_KEY, or the command line.",
        (
            Example("affectd config", "all settings"),
            Example("AFFECTD_GATE_MARGIN_DB=10 affectd config", "with one of them changed"),
        ),
        codes(errors.ConfigError),
    ),
    "affectd doctor": Page(
        "Checks everything that affectd needs here: settings, model, microphone, broker, page, board. Each line says"
        " what was found, and below it how to mend it.",
        (
            Example("affectd doctor", "all checks"),
            Example("affectd doctor --json", "the same for a program"),
        ),
        codes(others=[(69, "a fault was found"), INTERRUPTED]),
    ),
    "affectd bench": Page(
        "Measures on this board how much of the processor and of memory affectd takes, and how soon an event follows a"
        " word. It takes a minute or two, and needs neither a microphone nor a network.",
        (
            Example("affectd bench --json > before.json", "measure, and keep it"),
            Example("affectd bench --compare before.json", "measure again, and say what has changed"),
            Example("affectd bench --seconds 1 --hours 0.01", "a short look"),
        ),
        codes(*_RECORDING, *_MODEL),
    ),
    "affectd forget": Page(
        "Deletes the messages that the broker keeps of this device, so that Home Assistant forgets it. The service must"
        " be stopped, or it would send them again.",
        (Example("affectd forget", "before a device is given away, or gets another name"),),
        codes(*_MODEL),
    ),
}
"""The command, with the name of its program -> its page."""
