"""The MQTT topics of one device; `docs/mqtt.md` says what is published on each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topics:
    """The topics of a device.

    Examples
    --------
    >>> topics = Topics("kitchen")
    >>> topics.event, topics.discovery
    ('affectd/kitchen/event', 'homeassistant/device/affectd_kitchen/config')
    """

    device: str  # letters, digits, _ and -
    discovery_prefix: str = "homeassistant"  # the first levels of the topics of Home Assistant
    birth_topic: str = ""  # where Home Assistant says that it has started; empty: status below the prefix

    @property
    def status(self) -> str:
        """``online``, ``stopped`` or ``offline``; retained."""
        return self._of_device("status")

    @property
    def event(self) -> str:
        """Every event; not retained."""
        return self._of_device("event")

    @property
    def state(self) -> str:
        """The current state; retained."""
        return self._of_device("state")

    @property
    def telemetry(self) -> str:
        """Telemetry; not retained."""
        return self._of_device("telemetry")

    @property
    def listen(self) -> str:
        """Commands to listen (``ON``) or not (``OFF``)."""
        return self._of_device("listen")

    @property
    def listen_state(self) -> str:
        """Whether the device listens; retained."""
        return self._of_device("listen/state")

    @property
    def discovery(self) -> str:
        """Description of the device for Home Assistant; retained."""
        return f"{self.discovery_prefix}/device/affectd_{self.device}/config"

    @property
    def birth(self) -> str:
        """Start of Home Assistant."""
        return self.birth_topic or f"{self.discovery_prefix}/status"

    def _of_device(self, name: str) -> str:
        return f"affectd/{self.device}/{name}"
