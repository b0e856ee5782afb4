"""What the official file names of each corpus say: one function per corpus, with its source and terms.

Each takes a path inside the corpus and returns a `Named`, or raises `Misnamed` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Misnamed(Exception):
    """The name is not one this corpus uses; the message is the reason for the list of skipped files."""


class Named(NamedTuple):
    """What a file name says, in the corpus's own codes."""

    speaker: str
    gender: str  # "female" or "male"
    code: str  # of the emotion, a key of `labels.LABEL_OF_CODE`
    text: str  # which sentence or word is spoken


_MODALITY = {"01": "picture and sound", "02": "picture", "03": "sound"}


def ravdess(path: Path) -> Named:
    """Read a RAVDESS name, `Actor_NN/03-01-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR`.

    The zip files unpack to `Actor_NN` folders, which may lie inside `Audio_Speech_Actors_01-24`; songs and
    videos beside them are left out. Odd actors are male.

    Source: S. R. Livingstone and F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
    (RAVDESS)", PLoS ONE 13(5), 2018; https://zenodo.org/record/1188976.
    Terms: CC BY-NC-SA 4.0.
    Official count of spoken audio: 1,440 clips, 24 speakers (12 female, 12 male), 8 classes, 48 kHz.
    """
    if not re.fullmatch(r"\d\d(-\d\d){6}", path.stem):
        raise Misnamed("not seven two-digit numbers joined by dashes")
    modality, channel, code, intensity, statement, repetition, actor = path.stem.split("-")
    if modality not in _MODALITY or channel not in ("01", "02"):
        raise Misnamed(f"no modality {modality} or vocal channel {channel} in RAVDESS")
    if modality != "03":
        raise Misnamed(f"modality {modality} ({_MODALITY[modality]}), only 03 (sound) is used")
    if channel == "02":
        raise Misnamed("vocal channel 02, a song")
    if {intensity, statement, repetition} - {"01", "02"} or not 1 <= int(actor) <= 24:
        raise Misnamed("intensity, statement and repetition are 01 or 02, the actor 01 to 24")
    if code == "01" and intensity == "02":
        raise Misnamed("neutral exists at normal intensity only")
    folder = re.fullmatch(r"actor_(\d\d)", path.parent.name, re.IGNORECASE)
    if folder and folder[1] != actor:
        raise Misnamed(f"the name says actor {actor}, the folder {folder[1]}")
    return Named(actor, "male" if int(actor) % 2 else "female", code, statement)


def tess(path: Path) -> Named:
    """Read a TESS name, `OAF_angry/OAF_WORD_angry`, in whatever folder it lies.

    Folder names vary between the releases (`OAF_Fear`, `YAF_pleasant_surprised`, `OAF_ps`), file names do
    not; one file of the older speaker is called `OA_bite_neutral`. The Kaggle release holds everything twice.

    Source: M. K. Pichora-Fuller and K. Dupuis, "Toronto emotional speech set (TESS)", University of Toronto,
    2010; Borealis 2020, https://doi.org/10.5683/SP2/E8H2MF.
    Terms: CC BY-NC-ND 4.0.
    Official count: 2,800 clips, 2 speakers (both female, 64 and 26 years old), 7 classes (no calm), 24.4 kHz.
    """
    match = re.fullmatch(r"(OAF?|YAF)_([a-z]+)_([a-z]+)", path.stem, re.IGNORECASE)
    if not match:
        raise Misnamed("not SPEAKER_WORD_EMOTION with the speaker OAF or YAF")
    speaker = "oaf" if match[1].upper() == "OA" else match[1].lower()
    code = match[3].lower()
    folder = re.fullmatch(r"(OAF|YAF)_([a-z_]+)", path.parent.name, re.IGNORECASE)
    if folder:
        folder_code = folder[2].lower()
        folder_code = "ps" if folder_code.startswith("pleasant_surprise") else folder_code
        if (folder[1].lower(), folder_code) != (speaker, code):
            raise Misnamed(f"the name contradicts the folder {path.parent.name}")
    return Named(speaker, "female", code, match[2].lower())


# From the corpus's VideoDemographics.csv; the other 48 actors are male.
# fmt: off
_CREMAD_FEMALE = frozenset((
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028,
    1029, 1030, 1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063,
    1072, 1073, 1074, 1075, 1076, 1078, 1079, 1082, 1084, 1089, 1091,
))
# fmt: on
_CREMAD_SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")


def cremad(path: Path) -> Named:
    """Read a CREMA-D name, `AudioWAV/ACTOR_SENTENCE_EMOTION_LEVEL`, also that of a row of the log-mel table.

    The level is LO, MD, HI or XX (none given); `1040_ITH_SAD_X` is how the release spells one of them.
    `1076_MTI_SAD_XX.wav` of the release has no sound in it.

    Source: H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, "CREMA-D: Crowd-sourced
    Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing 5(4), 2014;
    https://github.com/CheyneyComputerScience/CREMA-D.
    Terms: Open Database License 1.0, contents under the Database Contents License 1.0.
    Official count: 7,442 clips, 91 speakers (43 female, 48 male), 6 classes (no calm, no surprised), 16 kHz.
    """
    match = re.fullmatch(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)", path.stem.upper())
    if not match:
        raise Misnamed("not ACTOR_SENTENCE_EMOTION_LEVEL")
    if not 1001 <= int(match[1]) <= 1091:
        raise Misnamed(f"no actor {match[1]} in CREMA-D (1001 to 1091)")
    if match[2] not in _CREMAD_SENTENCES:
        raise Misnamed(f"no sentence {match[2]} in CREMA-D")
    return Named(match[1], "female" if int(match[1]) in _CREMAD_FEMALE else "male", match[3], match[2])


def savee(path: Path) -> Named:
    """Read a SAVEE name, `AudioData/SPEAKER/EMOTIONnn` or, all in one folder, `SPEAKER_EMOTIONnn`.

    The speakers are DC, JE, JK and KL. The text id joins emotion and number: apart from three sentences
    common to all emotions, each emotion has sentences of its own.

    Source: S. Haq and P. J. B. Jackson, "Speaker-dependent audio-visual emotion recognition", AVSP
    2009; "Surrey Audio-Visual Expressed Emotion (SAVEE) Database", University of Surrey,
    http://kahlan.eps.surrey.ac.uk/savee.
    Terms: free for research after registration with the authors.
    Official count: 480 clips, 4 speakers (all male), 7 classes (no calm), 44.1 kHz.
    """
    match = re.fullmatch(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])(\d\d)", path.stem, re.IGNORECASE)
    if not match:
        raise Misnamed("not an emotion letter and a two-digit number, such as a01 or sa01 or DC_a01")
    folder = re.fullmatch(r"DC|JE|JK|KL", path.parent.name, re.IGNORECASE)
    in_name, in_folder = (match[1] or "").lower(), folder[0].lower() if folder else ""
    if not in_name and not in_folder:
        raise Misnamed("neither the name nor the folder says which speaker (DC, JE, JK, KL)")
    if in_name and in_folder and in_name != in_folder:
        raise Misnamed(f"the name contradicts the folder {path.parent.name}")
    code = match[2].lower()
    return Named(in_name or in_folder, "male", code, f"{code}{match[3]}")


_EMODB_MALE = frozenset(("03", "10", "11", "12", "15"))
_EMODB_FEMALE = frozenset(("08", "09", "13", "14", "16"))


def emodb(path: Path) -> Named:
    """Read a Berlin EmoDB name, `wav/SSTTTEV`: speaker, text, German emotion letter, version.

    Letters: W Wut (angry), L Langeweile (boredom, left out), E Ekel (disgust), A Angst (fearful), F Freude
    (happy), T Trauer (sad), N neutral. The version letter may be missing.

    Source: F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and B. Weiss, "A database of German emotional
    speech", Interspeech 2005; http://emodb.bilderbar.info.
    Terms: CC0.
    Official count: 535 clips, 10 speakers (5 female, 5 male), 7 classes of which 6 are ours, 16 kHz.
    """
    match = re.fullmatch(r"(\d\d)([ab]\d\d)([A-Z])([a-z]?)", path.stem, re.IGNORECASE)
    if not match:
        raise Misnamed("not speaker, text, emotion letter and version, such as 03a01Fa")
    if match[1] not in _EMODB_MALE | _EMODB_FEMALE:
        raise Misnamed(f"no speaker {match[1]} in EmoDB")
    return Named(match[1], "male" if match[1] in _EMODB_MALE else "female", match[3].upper(), match[2].lower())


_NEMO_FEMALE = frozenset(("EB0", "IC0", "KD0", "MK0"))
_NEMO_MALE = frozenset(("KS0", "MP0", "SM0", "TP0", "WR0"))


def nemo(path: Path) -> Named:
    """Read an nEMO name, `samples/SPEAKER_emotion_SENTENCE`; every sentence is said with every emotion.

    Source: I. Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024;
    https://github.com/amu-cai/nEMO, whose `data.tsv` has the genders.
    Terms: CC BY-NC-SA 4.0.
    Official count: 4,481 clips, 9 speakers (4 female, 5 male), 6 classes (no calm, no disgust), 24 kHz.
    """
    match = re.fullmatch(r"([A-Z]{2}\d)_([a-z]+)_(\d{1,2})", path.stem, re.IGNORECASE)
    if not match:
        raise Misnamed("not SPEAKER_emotion_SENTENCE, such as IC0_anger_1")
    if (speaker := match[1].upper()) not in _NEMO_FEMALE | _NEMO_MALE:
        raise Misnamed(f"no speaker {match[1]} in nEMO")
    return Named(speaker.lower(), "female" if speaker in _NEMO_FEMALE else "male", match[2].lower(), match[3])


LAYOUTS: dict[str, tuple[Callable[[Path], Named], str]] = {
    "ravdess": (ravdess, "Actor_01/03-01-05-01-02-01-01.wav"),
    "tess": (tess, "OAF_angry/OAF_back_angry.wav"),
    "cremad": (cremad, "AudioWAV/1001_DFA_ANG_XX.wav, or clips.csv beside logmel.npy.xz"),
    "savee": (savee, "AudioData/DC/a01.wav or DC_a01.wav"),
    "emodb": (emodb, "wav/03a01Fa.wav"),
    "nemo": (nemo, "samples/IC0_anger_1.wav"),
}
"""corpus -> the function that reads its names, and an example of its layout for error messages.

All others have a `label_tables.TABLE`.
"""
