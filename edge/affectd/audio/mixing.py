"""From the channels of a recording to the one that is listened to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from affectd.arrays import Block, Float32
from affectd.audio.containers import Origin
from affectd.errors import ConfigError

CANCELED = "has channels that cancel each other out"
"""What is wrong with a recording, or a microphone, whose mean is quieter than its channels by `CANCELED_POWER`."""
CANCELED_POWER = 1e-3
"""30 dB."""


def check_channel(channel: int | str, n_channels: int, origin: Origin) -> None:
    """Raise `ConfigError` if there is no such channel."""
    if channel != "mix" and int(channel) >= n_channels:
        has = "one channel, 0" if n_channels == 1 else f"the channels 0 to {n_channels - 1}"
        raise ConfigError(f"{origin.name} has {has}, but [audio] channel is {channel}.")


def mono(blocks: Iterable[Float32], channel: int | str, origin: Origin) -> Iterator[Block]:
    """Yield one channel or, for ``mix``, the mean of all of blocks ``(n, n_channels)``.

    The log says at the end if the channels have canceled each other out.
    """
    if channel != "mix":
        for block in blocks:
            yield np.ascontiguousarray(block[:, int(channel)])
        return
    power_of_mix = power = 0.0
    for block in blocks:
        mixed: Block = block.mean(axis=1, dtype=np.float32)
        if block.shape[1] > 1:
            power_of_mix += float(np.vdot(mixed, mixed))
            power += float(np.vdot(block, block)) / block.shape[1]
        yield mixed
    if power_of_mix < CANCELED_POWER * power:
        origin.note(f"{CANCELED}; choose one with [audio] channel")
