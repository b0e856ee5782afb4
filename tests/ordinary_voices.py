r"""Measure how often a device names an emotion in ordinary speech, or in what is no speech: ``FOLDER...``, one of each.

Prints JSON: the events of each folder, of a device that hears each recording anew, and of one that hears all of them
one after another and learns, each with the 95 % interval of the named ones. ffmpeg decodes them; what it cannot decode
is left out. The figures in docs/accuracy.md are of packages of Debian 12. Spoken for telephone exchanges:

    mkdir prompts
    for package in asterisk-core-sounds-{en,es,fr,it,ru}-g722 asterisk-prompt-{es-co,fr-armelle,it-menardi-wav}; do
        apt-get download $package; dpkg-deb -x ${package}_*.deb prompts/$package
    done
    python tests/ordinary_voices.py prompts/*

Music and sounds of games, and the music of a telephone exchange:

    apt-get download wesnoth-1.16-music supertux-data freedroidrpg-data tuxtype-data tuxmath-data lincity-ng-data \
        asterisk-moh-opsound-wav
    for package in *.deb; do dpkg-deb -x "$package" sounds; done
    cd sounds/usr/share; python tests/ordinary_voices.py games/wesnoth/1.16/data/core/music games/supertux2/music \
        freedroidrpg/data/sound/music tuxtype/sounds tuxmath/sounds games/lincity-ng/sounds asterisk/moh
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from affectd.config.sections import Config
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd_train.evaluation.event_rates import event_rates
from affectd_train.evaluation.rates import rate_text

SHORTEST_SECONDS = 0.2
SUFFIXES = (".g722", ".gsm", ".wav", ".ogg", ".opus")


def decoded(path: Path, sample_rate: int) -> np.ndarray:
    """Return a recording as float32, mono; nothing of one that is damaged."""
    raw_g722 = ["-f", "g722"] if path.suffix == ".g722" else []
    command = ["ffmpeg", "-v", "error", *raw_g722, "-i", path, "-f", "f32le", "-ac", "1", "-ar", str(sample_rate), "-"]
    return np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout, np.float32)


def main(*folders: str) -> None:
    model = read_model(find_model())
    rate, found = model.spec.sample_rate, {}
    for folder in folders:
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
        heard = {str(path): decoded(path, rate) for path in paths if path.suffix in SUFFIXES}
        heard = {name: samples for name, samples in heard.items() if len(samples) > SHORTEST_SECONDS * rate}
        networks = {"anew": Classifier(model), "learns": Placed(Classifier(model))}
        name = "/".join(Path(folder).parts[-2:])
        rates = {kind: event_rates(heard, network, Config()) for kind, network in networks.items()}
        named = {kind: rate_text(one["named_per_hour"], one["hours"], 1) for kind, one in rates.items()}
        found[name] = {kind: {"named": named[kind], **one} for kind, one in rates.items()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
