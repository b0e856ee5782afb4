"""The MQTT topics of one device; `docs/mqtt.md` says what is published on each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """The topics of a device.

    Parameters
    ----------
    device : str
        The id of the device: letters, digits, ``_`` and ``-``.
    discovery_prefix : str
        The first level of the topics of Home Assistant.
    """

    device: str
    discovery_prefix: str = "homeassistant"

    @property
    def status(self) -> str:
        """Whether the device is there; retained."""
        return self._of_device("status")

    @property
    def event(self) -> str:
        """Every event; never retained."""
        return self._of_device("event")

    @property
    def state(self) -> str:
        """How people sound now; retained."""
        return self._of_device("state")

    @property
    def telemetry(self) -> str:
        """What the device tells about itself; not retained."""
        return self._of_device("telemetry")

    @property
    def listen(self) -> str:
        """Where the device takes the command to listen or not."""
        return self._of_device("listen")

    @property
    def listen_state(self) -> str:
        """Whether it listens; retained."""
        return self._of_device("listen/state")

    @property
    def discovery(self) -> str:
        """Where the device introduces itself to Home Assistant; retained."""
        return f"{self.discovery_prefix}/device/affectd_{self.device}/config"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery_prefix}/status"

    def _of_device(self, name: str) -> str:
        return f"affectd/{self.device}/{name}"
