"""The start of the app: the options become settings of affectd, which then takes the place of this program.

An option is called as its variable: ``mqtt_host`` is ``AFFECTD_MQTT_HOST``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPTIONS = Path("/data/options.json")
PASSWORD = Path("/dev/shm/mqtt_password")  # in memory
SERVICE = "http://supervisor/services/mqtt"
PROXY = ["nginx", "-c", "/app/nginx.conf"]
AFFECTD = "/opt/affectd/bin/affectd"


def settings(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables for these options; an empty option is left to affectd."""
    words = {True: "true", False: "false"}
    return {
        f"AFFECTD_{name.upper()}": words[value] if isinstance(value, bool) else str(value)
        for name, value in options.items()
        if value not in (None, "")
    }


def broker() -> dict[str, Any]:
    """Return the options for the broker of Home Assistant; none if it has none."""
    token = os.environ.get("SUPERVISOR_TOKEN", "")
    request = urllib.request.Request(SERVICE, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)["data"]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        "mqtt_host": found["host"],
        "mqtt_port": found["port"],
        "mqtt_username": found.get("username"),
        "mqtt_password": found.get("password"),
        "mqtt_tls": bool(found.get("ssl")),
        # The way to it does not leave this machine.
        "mqtt_allow_plain_password": True,
    }


def main() -> None:
    """Begin affectd; does not return."""
    options = json.loads(OPTIONS.read_text())
    if not options.get("mqtt_host"):
        options |= broker()
    if not options.get("mqtt_host"):
        sys.exit('There is no MQTT broker: install the app "Mosquitto broker", or name another broker in the options.')
    password = options.pop("mqtt_password", None)
    if password:
        PASSWORD.touch(mode=0o600)
        PASSWORD.write_text(password)
        options["mqtt_password_file"] = PASSWORD
    subprocess.run(PROXY, check=True)
    os.execve(AFFECTD, ["affectd", "run"], {**os.environ, **settings(options)})


if __name__ == "__main__":
    main()
