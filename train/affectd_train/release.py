"""The model file that is given away: the network of a run, calibrated on an evaluation, with its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectd.errors import DataError
from affectd.recognition.model_file import ModelFile
from affectd_train.evaluation.calibration import calibrate, uncertain_threshold
from affectd_train.evaluation.predictions import read_predictions
from affectd_train.export.pack import pack
from affectd_train.files import say
from affectd_train.reports.model_card import card
from affectd_train.stored import read_fitted


def release(run: Path, evaluation: Path, also: Sequence[Path], out: Path) -> ModelFile:
    """Write the model file of a run, and warn where the evaluation is of another recipe.

    Parameters
    ----------
    run
        Of ``affectd-train fit`` and ``quantize``.
    evaluation
        Of ``affectd-train evaluate``, with the same recipe.
    also
        Evaluations by other protocols, for the card.

    Raises
    ------
    NoInputError
        If one of them is not finished.
    """
    predictions = read_predictions(evaluation / "predictions.jsonl")
    if not any(prediction.get("int8") for prediction in predictions):
        raise DataError(f"{evaluation}: the int8 network heard speech in none of its recordings")
    temperature = round(calibrate(predictions), 3)
    uncertain = round(uncertain_threshold(predictions, temperature), 3)
    recipe = read_fitted(run)["recipe"]
    for fold in sorted(path.parent for path in evaluation.glob("fold-*/fit.json")):
        if read_fitted(fold)["recipe"] != recipe:
            say(f"{fold} has another recipe than {run}: the figures on the card are of another network")
    return pack(run, out, card(evaluation, run, also), temperature, uncertain)
