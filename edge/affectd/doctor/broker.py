"""The check of the broker: connect as the service would, then disconnect."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping

from affectd.config.sections import MqttConfig
from affectd.doctor.finding import Finding, fault, ok
from affectd.errors import ConfigError, UnavailableError
from affectd.mqtt.credentials import read_login
from affectd.mqtt.link import Link, address


def broker(config: MqttConfig, device: str, environment: Mapping[str, str]) -> Finding:
    """Check that the broker accepts this device; `environment` has the ``CREDENTIALS_DIRECTORY`` of the service."""
    if not config.enabled:
        return ok("no broker configured")
    # Not the client id of the service, which the broker would disconnect.
    client_id = f"{config.client_id or f'affectd-{device}'}-doctor"
    try:
        link = Link(config, client_id, read_login(config, environment))
    except UnavailableError as error:
        return fault("paho-mqtt is not installed", str(error).partition(": ")[2])
    except ConfigError as error:
        alone = "" if os.geteuid() == 0 else "; if only root may read it: sudo affectd doctor"
        return fault(str(error), f"correct [mqtt] in the settings{alone}")
    link.open()
    while link.state == "opened":
        poll = select.poll()
        if not link.register(poll):
            poll.poll(100)
        link.step()
    where = "{}:{}".format(*address(config))
    if link.state == "lost":
        link.drop()
        return fault(f"{where}: {link.reason}", "compare [mqtt] in the settings with the broker's, and look at its log")
    link.disconnect()
    return ok(f"{where} lets this device in by MQTT {config.protocol}{' over TLS' if config.tls else ''}")
