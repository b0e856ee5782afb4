"""The model file that is given away: the network of a run, calibrated on an evaluation, with its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectd.recognition.model_file import ModelFile
from affectd_train.evaluation.calibration import calibrate, uncertain_threshold
from affectd_train.evaluation.predictions import read_predictions
from affectd_train.export.pack import pack
from affectd_train.files import needed, read_fitted, say
from affectd_train.reports.model_card import card


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
    predictions = read_predictions(needed(evaluation / "predictions.jsonl", "evaluate"))
    temperature = round(calibrate(predictions), 3)
    uncertain = round(uncertain_threshold(predictions, temperature), 3)
    recipe = read_fitted(run)["recipe"]
    for fold in sorted(path.parent for path in evaluation.glob("fold-*/fit.json")):
        if read_fitted(fold)["recipe"] != recipe:
            say(f"{fold} has another recipe than {run}: the figures on the card are of another network")
    return pack(run, out, card(evaluation, run, also), temperature, uncertain)
