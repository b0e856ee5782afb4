"""What is given away: the model file of a run, calibrated on an evaluation, and its card as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from affectd.errors import DataError, ModelFileError, UsageError
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.data.own import OWN
from affectd_train.evaluation.calibration import SURE_ABROAD, device_settings, named_at
from affectd_train.export.pack import pack
from affectd_train.files import made_folder, needed, say, write_text
from affectd_train.protocols.evaluated import check_figures, check_other_figures, read_answers, read_stranger_share
from affectd_train.reports.card_sections import pictures_beside, rounded
from affectd_train.reports.model_card import card, is_card_of, markdown
from affectd_train.stored import CHOSEN, Fitted, read_fitted, read_json, reading

SURE = 0.95
"""The highest probability below which a device says ``uncertain``, where most answers of a network are surer still."""


def release(run: Path, evaluation: Path | None, also: Sequence[Path], out: Path, replace: bool = False) -> ModelFile:
    """Write the model file of a run, and warn where the evaluation is of another recipe.

    Without an evaluation, temperature and threshold are not fitted: 1, and half way from chance to certainty. They are
    fitted on corpora that were left out, where one of the evaluations did that: known ones make a device too sure.

    Parameters
    ----------
    run
        Of ``affectd-train fit`` and ``quantize``.
    evaluation
        Of ``affectd-train evaluate``, with the same recipe. None for the one that `evaluation_of` finds, if it does.
    also
        Evaluations by other protocols, for the card.
    out
        The model file; its folder is made.
    replace
        Write it whatever is there. Else a file with the network of the same run is replaced, and no other.

    Raises
    ------
    NoInputError
        If one of them is not finished.
    DataError
        If the evaluation is of other labels.
    UsageError
        If another file is there.
    """
    from affectd_train.protocols.baseline_files import is_file_of, is_seed, pack_seed  # late: a report needs no Keras

    if is_seed(run):
        if not replace:
            check_ours(out, lambda: is_file_of(out, run), f"the network of {run}")
        with made_folder(out.parent):
            return pack_seed(run, out)
    evaluation = evaluation or evaluation_of(run)
    for one in also:
        check_other_figures(one)
    if evaluation is None:
        n_labels = len(read_fitted(run)["labels"])
        temperature, uncertain = 1.0, round((1 + 1 / n_labels) / 2, 3)
        say(f"{run}: packed without an evaluation, so that neither temperature nor threshold is fitted")
    else:
        check_figures(evaluation)
        abroad = next((one for one in (evaluation, *also) if _is_unheard(one)), None)
        temperature, uncertain = _calibrated(run, evaluation, abroad)
    content = card(evaluation, run, also)
    if evaluation and abroad:
        content["named"] = {
            name: rounded(named_at(read_answers(one), temperature, uncertain))
            for name, one in {"known": evaluation, "unheard": abroad}.items()
            if name == "unheard" or one != abroad
        }
    if not replace and out.exists():
        network = needed(run / "int8.tflite", "quantize").read_bytes()
        check_ours(out, lambda: read_model(out).tflite == network, f"the network of {run}")
    with made_folder(out.parent):
        return pack(run, out, content, temperature, uncertain)


def evaluation_of(run: Path) -> Path | None:
    """Return the folder where evaluate leaves the figures of networks like that of a run, if they are there."""
    fitted = read_fitted(run)
    evaluation = Path("runs") / (OWN if OWN in fitted["clips"] else "ravdess-emobox")
    if not (evaluation / "metrics.json").exists():
        return None
    if of_others := next(
        (fold for fold in _folds(evaluation) if read_fitted(fold, "evaluate")["labels"] != fitted["labels"]), None
    ):
        say(f"{of_others} has other labels than {run}: {evaluation} is not taken for its evaluation")
        return None
    if of_others := _of_other_recordings(evaluation, run, fitted):
        say(f"{of_others} is of other recordings than {run}: {evaluation} is not taken for its evaluation")
        return None
    return evaluation


def _of_other_recordings(evaluation: Path, run: Path, fitted: Fitted) -> Path | None:
    """Find a fold that was trained and tested on other recordings of one's own than a run, or by other labels."""
    if OWN not in fitted["clips"] or read_json(evaluation / "metrics.json", "evaluate").get("by_file"):
        return None  # a fold by file is told of what it trains on alone
    return next((fold for fold in _folds(evaluation) if _recordings(fold) != _recordings(run)), None)


def _recordings(run: Path) -> tuple[object, object]:
    """Return the digests of the recordings that a run was told of, whether they train or not, and of their labels."""
    note = run / "asked.json"
    asked = read_json(note, "fit") if note.exists() else {}
    return asked.get("table of labels"), asked.get("content of recordings")


def _folds(evaluation: Path) -> list[Path]:
    return sorted(path.parent for path in evaluation.glob("fold-*/fit.json"))


def _is_unheard(evaluation: Path) -> bool:
    """Tell whether an evaluation left whole corpora out."""
    file = evaluation / "metrics.json"  # what else is not there is said by who needs it
    return file.exists() and bool(read_json(file, "evaluate").get("name") == "leave-one-corpus-out")


def _calibrated(run: Path, evaluation: Path, abroad: Path | None) -> tuple[float, float]:
    """Return temperature and threshold by an evaluation of networks like that of a run, or by one that went abroad."""
    predictions = read_answers(abroad or evaluation)
    if not any(prediction.get("int8") for prediction in predictions):
        raise DataError(f"{evaluation}: the int8 network heard speech in none of its recordings")
    fitted = read_fitted(run)
    for fold in _folds(evaluation):
        other = read_fitted(fold, "evaluate")
        if unknown := sorted(set(other["labels"]) - set(fitted["labels"])):
            raise DataError(f"{evaluation} tests networks with the label {unknown[0]}, which {run} does not have")
        if not _alike(other, fitted):
            say(f"{fold} has another recipe than {run}: the figures on the card are of another network")
    if of_others := _of_other_recordings(evaluation, run, fitted):
        say(f"{of_others} is of other recordings than {run}: the figures on the card are of those")
    share = read_stranger_share(abroad or evaluation)
    temperature, threshold = device_settings(predictions, share, SURE_ABROAD if abroad else 0.0)
    return round(temperature, 3), round(min(threshold, SURE), 3)


def _alike(one: Fitted, other: Fitted) -> bool:
    """Tell whether two runs are of one recipe, or each chose by itself between two ways of one."""
    same = [dict(run["recipe"]) for run in (one, other)]
    if "choice" in one and "choice" in other:
        for recipe in same:
            for key in CHOSEN:
                recipe.pop(key, None)
    return same[0] == same[1]


def check_ours(out: Path, is_ours: Callable[[], bool], what: str) -> None:
    """Raise `UsageError` if a file is there that is not what the same command made of the same before."""
    if out.exists() and not out.is_file():  # nor is it opened: a pipe would be waited for
        raise UsageError(f"{out}: not a regular file; name another with --out")
    try:
        ours = not out.exists() or is_ours()
    except (ModelFileError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise UsageError(f"{out} is there and does not hold {what}: name another file or say --replace")


def write_curves(run: Path, out: Path | None) -> Path:
    """Draw how a run learned, into ``learning.png`` in its folder or another file; only a picture is replaced.

    Raises
    ------
    NoInputError
        If the run has no log.
    UsageError
        If a file is there that is no PNG.
    """
    from affectd_train.reports.plots import draw_learning  # late: matplotlib takes a while to start

    picture = out or run / "learning.png"
    if picture.exists() and not (picture.is_file() and picture.read_bytes().startswith(b"\x89PNG")):
        raise UsageError(f"{picture} is there and is no picture: name another file with --out")
    return draw_learning(run, picture)


def _is_card(path: Path, model: ModelFile) -> bool:
    return is_card_of(path.read_text("utf-8"), model)


def write_report(
    file: Path, out: Path | None, html: Path | None, evaluation: Path | None, data: Path | None, replace: bool
) -> list[Path]:
    """Write the card of a model file as Markdown, as HTML or as both; their folders are made.

    Raises
    ------
    UsageError
        If a page is there that is no card of the same network, unless it is to be replaced.
    """
    model = read_model(file)
    asked = [path for path in (out, html) if path]
    if len({file, *asked}) <= len(asked):
        raise UsageError("the model file and each page need a file of their own: --out, --html")
    pages: dict[Path, str] = {}
    with reading(file, "affectd-train pack writes another"):
        try:
            text = markdown(model, pictures_beside(out.parent) if out else ())
        except DataError as error:  # of its card
            raise DataError(f"{file}: {error}") from error
        if out:
            pages[out] = text
        if html:
            from affectd_train.reports.html_page import page

            pages[html] = page(model, evaluation, data)
    for path in pages:
        if not replace:
            check_ours(path, partial(_is_card, path, model), f"a card of {file}")
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)
