"""Correlations over lags of what many episodes hold, summed over the episodes.

T rows of an episode, D dims, L lags
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ENERGY_LEFT = 0.1  # of the most: below it, a correlation is that of a few values


class CrossCorrelation:
    """Of x[t] with y[t + lag], for lags from -most to most; dims each for themselves.

    An episode has a say in lags up to half of its length. Each sum of products is divided by the
    energies of the very values in it, so that neither short episodes nor large lags pull the
    result towards 0.
    """

    def __init__(self, most: int, dims: int) -> None:
        self.lags = np.arange(-most, most + 1)  # (L,)
        self.count = np.zeros(len(self.lags))  # products in each sum
        self._products = np.zeros((len(self.lags), dims))
        self._energies = np.zeros((2, len(self.lags), dims))

    def add(self, x: Array, y: Array) -> None:
        """Take an episode's values, each (T, D), centred."""
        rows, most = len(x), int(self.lags[-1])
        known = np.abs(self.lags) <= rows // 2
        lags = self.lags[known]
        first, behind = np.maximum(0, -lags), rows - np.maximum(0, lags)  # of x: [first, behind)
        self.count[known] += behind - first
        self._products[known] += _products(x, y, most)[known]
        for energies, values, shift in zip(self._energies, (x, y), (0 * lags, lags), strict=True):
            total = np.zeros((rows + 1, values.shape[1]))
            np.cumsum(values**2, axis=0, out=total[1:])
            energies[known] += total[behind + shift] - total[first + shift]

    def value(self) -> Array:
        """The correlations, (L, D); 0 where there is nothing, or too little, to correlate."""
        scale = np.sqrt(self._energies[0] * self._energies[1])
        known = (scale > 0) & (scale >= _ENERGY_LEFT * scale.max(axis=0))
        return np.divide(self._products, scale, out=np.zeros_like(scale), where=known)


class Autocorrelation:
    """Of x[t] with x[t + lag], for lags from 0 to half of the longest episode.

    As usual for autocorrelations, all lags are divided by the whole energy.
    """

    def __init__(self, most: int, dims: int) -> None:
        self._products = np.zeros((most + 1, dims))
        self._energies = np.zeros((most + 1, dims))

    def add(self, x: Array) -> None:
        """Take an episode's values, (T, D), centred."""
        most = min(len(x) // 2, len(self._products) - 1)
        products = _products(x, x, most)[most:]
        self._products[: most + 1] += products
        self._energies[: most + 1] += products[0]

    def falls_below(self, limit: float) -> list[int | None]:
        """The first lag of each dim with less than `limit`; None: there is none, or no energy."""
        known = self._energies > 0
        value = np.divide(
            self._products, self._energies, out=np.ones_like(known, float), where=known
        )
        below = value < limit
        return [int(column.argmax()) if column.any() else None for column in below.T]


def _products(x: Array, y: Array, most: int) -> Array:
    """The sums of x[t] * y[t + lag] for lags from -most to most: (2 * most + 1, D)."""
    size = _fast_size(len(x) + most)  # zeros behind, for the lags not to wrap around
    of_x = np.fft.rfft(x.T, size)
    of_y = of_x if y is x else np.fft.rfft(y.T, size)
    sums = np.fft.irfft(np.conj(of_x) * of_y, size).T
    return np.concatenate([sums[size - most :], sums[: most + 1]])


def _fast_size(rows: int) -> int:
    """A length that is not less, of which a transform is fast."""
    power = 1 << max(2, rows.bit_length())
    return next(size for size in (5 * power // 8, 3 * power // 4, power) if size >= rows)
