"""What is given away: the model file of a run, calibrated on an evaluation, and its card as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from affectd.errors import DataError, ModelFileError, UsageError
from affectd.recognition.model_file import ModelFile, read_model
from affectd_train.evaluation.calibration import calibrate, uncertain_threshold
from affectd_train.evaluation.predictions import read_predictions
from affectd_train.export.pack import pack
from affectd_train.files import needed, say, write_text
from affectd_train.protocols.baseline_files import is_file_of, is_seed, pack_seed
from affectd_train.reports.card_sections import pictures_beside
from affectd_train.reports.model_card import card, is_card_of, markdown
from affectd_train.stored import read_fitted, reading


def release(run: Path, evaluation: Path, also: Sequence[Path], out: Path, replace: bool = False) -> ModelFile:
    """Write the model file of a run, and warn where the evaluation is of another recipe.

    Parameters
    ----------
    run
        Of ``affectd-train fit`` and ``quantize``.
    evaluation
        Of ``affectd-train evaluate``, with the same recipe.
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
    UsageError
        If another file is there.
    """
    if is_seed(run):
        if not replace:
            check_ours(out, lambda: is_file_of(out, run), f"the network of {run}")
        out.parent.mkdir(parents=True, exist_ok=True)
        return pack_seed(run, out)
    predictions = read_predictions(evaluation / "predictions.jsonl")
    if not any(prediction.get("int8") for prediction in predictions):
        raise DataError(f"{evaluation}: the int8 network heard speech in none of its recordings")
    temperature = round(calibrate(predictions), 3)
    uncertain = round(uncertain_threshold(predictions, temperature), 3)
    recipe = read_fitted(run)["recipe"]
    for fold in sorted(path.parent for path in evaluation.glob("fold-*/fit.json")):
        if read_fitted(fold)["recipe"] != recipe:
            say(f"{fold} has another recipe than {run}: the figures on the card are of another network")
    content = card(evaluation, run, also)
    if not replace and out.exists():
        network = needed(run / "int8.tflite", "quantize").read_bytes()
        check_ours(out, lambda: read_model(out).tflite == network, f"the network of {run}")
    out.parent.mkdir(parents=True, exist_ok=True)
    return pack(run, out, content, temperature, uncertain)


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


def _is_card(path: Path, model: ModelFile) -> bool:
    return is_card_of(path.read_text("utf-8"), model)


def write_report(
    file: Path, out: Path | None, html: Path | None, evaluation: Path | None, data: Path | None, replace: bool = False
) -> list[Path]:
    """Write the card of a model file as Markdown, as HTML or as both; their folders are made.

    Raises
    ------
    UsageError
        If a page is there that is no card of the same network, unless it is to be replaced.
    """
    model = read_model(file)
    pages: dict[Path, str] = {}
    with reading(file, "affectd-train pack writes another"):
        if out:
            pages[out] = markdown(model, pictures_beside(out.parent))
        if html:
            from affectd_train.reports.html_page import page

            pages[html] = page(model, evaluation, data)
    for path in pages:
        if not replace:
            check_ours(path, partial(_is_card, path, model), f"a card of {file}")
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return list(pages)
