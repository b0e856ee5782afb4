"""Valence and arousal of a voice: how pleasant and how excited it sounds, from -1 to 1.

Each is the mean of a coordinate of the labels, weighted by their probabilities. So neither needs a network of its own,
and both say something where the label is ``uncertain``.
"""

from __future__ import annotations

from collections.abc import Mapping

COORDINATES = {
    "neutral": (0.0, 0.0),
    "calm": (0.68, -0.46),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fearful": (-0.64, 0.60),
    "disgust": (-0.60, 0.35),
    "surprised": (0.40, 0.67),
}
"""label -> (valence, arousal): mean ratings of the words, on scales of which 0 is the middle.

Source: J. A. Russell and A. Mehrabian, "Evidence for a three-factor theory of emotions", Journal of Research in
Personality 11, 1977, table 4, where ``calm`` is "relaxed" and ``disgust`` "disgusted"; ``neutral`` is the middle.
"""


def affect(probabilities: Mapping[str, float]) -> dict[str, float | None]:
    """Return ``valence`` and ``arousal`` for the probability of every label of a model.

    Both are None without probabilities, and if the model has a label without `COORDINATES`: its share cannot be left
    out without making the others' larger than they are.

    Examples
    --------
    >>> affect({"neutral": 0.5, "angry": 0.5})
    {'valence': -0.255, 'arousal': 0.295}
    >>> affect({"angry": 0.9, "hungry": 0.1})
    {'valence': None, 'arousal': None}
    """
    if not probabilities or not probabilities.keys() <= COORDINATES.keys():
        return {"valence": None, "arousal": None}
    return {
        name: round(sum(p * COORDINATES[label][axis] for label, p in probabilities.items()), 3)
        for axis, name in enumerate(("valence", "arousal"))
    }
