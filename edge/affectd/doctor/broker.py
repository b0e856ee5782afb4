"""The check of the broker for `affectd doctor`: log in as the service would, and leave again."""

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
    """Judge whether the broker lets this device in.

    Parameters
    ----------
    config : MqttConfig
        The settings.
    device : str
        The id of this device.
    environment : mapping
        With the ``CREDENTIALS_DIRECTORY`` that the service has.
    """
    if not config.enabled:
        return ok("no broker configured")
    # Not the service's own name: the broker would throw it out.
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
