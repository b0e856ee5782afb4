"""A program that makes numbered events and publishes them; a test kills it, and starts it again.

Usage: publisher.py PORT FOLDER FIRST N RATE. It prints the number of every event that the outbox has taken, and when
standard input ends it delivers what is left, and ends.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

from affectd.config.sections import MqttConfig
from affectd.mqtt.connection import Connection, Publication
from affectd.outbox import Outbox

EVENT = "affectd/test/event"
STATUS = "affectd/test/status"


def open_connection(port: int, outbox: Outbox, **settings: object) -> Connection:
    """Connect to a broker on this machine and say nothing but the status."""
    online, stopped, offline = (Publication(STATUS, word, retain=True) for word in ("online", "stopped", "offline"))
    return Connection(
        MqttConfig(**{"host": "127.0.0.1", "port": port, "retry_seconds": 1.0, **settings}),  # type: ignore[arg-type]
        "test",
        outbox,
        event_topic=EVENT,
        last_will=offline,
        farewell=stopped,
        greeting=lambda: [online],
        subscriptions={},
        period_seconds=86400.0,
        periodic=list,
    )


def main(port: str, folder: str, first: str, n: str, rate: str) -> None:
    """Do as the usage says."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    outbox = Outbox(Path(folder) / "state", Path(folder) / "run", max_events=1_000_000, max_bytes=10**9)
    connection = open_connection(int(port), outbox)
    connection.start()
    for number in range(int(first), int(first) + int(n)):
        outbox.put(json.dumps({"id": number, "type": "emotion", "label": "x" * 400}))
        os.write(1, f"{number}\n".encode())
        connection.event_made()
        time.sleep(1 / float(rate))
    sys.stdin.read()
    connection.close(60.0)
    outbox.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
