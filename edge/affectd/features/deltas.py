"""Derivatives of columns along time."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32


def delta(rows: Float32, width: int, order: int) -> Float32:
    """Return the first or second derivative of every column, ``(n, k)`` float32, per frame or per frame squared.

    Parameters
    ----------
    rows
        Shape (n, k), n at least `width`.
    width
        Frames, an odd number; in the first and the last half of it the derivative is that of the nearest whole one.
    order
        1 or 2: the derivative of a line, or of a parabola, fitted to `width` rows.

    Raises
    ------
    ValueError
        There are fewer rows than `width`.

    References
    ----------
    A. Savitzky and M. J. E. Golay, "Smoothing and differentiation of data by simplified least squares procedures",
    Analytical Chemistry 36(8), 1964. Agrees with ``librosa.feature.delta``.

    Examples
    --------
    >>> delta(np.arange(4, dtype=np.float32)[:, np.newaxis] * 2, width=3, order=1).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    if len(rows) < width:
        raise ValueError(f"delta_width = {width} needs as many frames, not {len(rows)}")
    half = width // 2
    offsets = np.arange(-half, half + 1, dtype=np.float64)
    # Orthogonal to the lower powers, so that its product with the rows is the coefficient of this power.
    power = offsets if order == 1 else offsets**2 - (offsets**2).mean()
    weights = order * power / (power**2).sum()
    n = len(rows) - width + 1
    inner = np.zeros((n, rows.shape[1]))
    for first, weight in enumerate(weights):
        inner += weight * rows[first : first + n]
    return np.pad(inner, ((half, half), (0, 0)), mode="edge").astype(np.float32)
