"""The owner of a Home Assistant for tests: signs up as at the first visit, then does what the pages of its frontend do.

Everything goes through the interfaces that the frontend uses, so what is refused here is refused to people as well.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from broker import wait_until

CLIENT = "http://127.0.0.1/"
# With the client of Home Assistant's own environment, for the tests have none for websockets.
_ASK = """
import asyncio, json, sys
import aiohttp

async def main():
    url, token, *questions = json.load(sys.stdin)
    async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "auth", "access_token": token})
        assert (await socket.receive_json())["type"] == "auth_ok"
        for number, question in enumerate(questions, 1):
            await socket.send_json({"id": number, **question})
            print(json.dumps(await socket.receive_json()))

asyncio.run(main())
"""


class Refused(Exception):
    """Home Assistant answered with an error."""


class Owner:
    """The one who may do everything.

    Parameters
    ----------
    environment : Path
        Where Home Assistant is installed.
    port : int
        Where its frontend would be.
    """

    def __init__(self, environment: Path, port: int) -> None:
        self._python = environment / "bin/python"
        self._port = port
        account = {"client_id": CLIENT, "language": "en", "name": "Owner", "username": "owner", "password": "secret"}
        code = self._call("/api/onboarding/users", account)["auth_code"]
        form = urllib.parse.urlencode({"grant_type": "authorization_code", "code": code, "client_id": CLIENT})
        self._token = self._open("/auth/token", form.encode(), {})["access_token"]
        # From 2026 on Home Assistant takes an address of its own back after five minutes, unless it is confirmed.
        with suppress(Refused):
            self.ask("http/config/promote")

    def ask(self, kind: str, **about: Any) -> Any:
        """Ask as the frontend does over its websocket, and return the result; raises `Refused`."""
        question = [f"ws://127.0.0.1:{self._port}/api/websocket", self._token, {"type": kind, **about}]
        done = subprocess.run(
            [self._python, "-c", _ASK], input=json.dumps(question), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        if not answer["success"]:
            raise Refused(answer["error"]["message"])
        return answer["result"]

    def save_automation(self, identity: str, automation: dict[str, Any]) -> None:
        """Save an automation as its editor does: it is checked, written into automations.yaml, and waits."""
        self._call(f"/api/config/automation/config/{identity}", automation)
        wait_until(lambda: self.is_idle(identity), 120.0, f"the automation {identity} waits")

    def is_idle(self, identity: str) -> bool:
        """Return whether this automation waits for its triggers and does nothing."""
        return any(
            state["state"] == "on" and not state["attributes"]["current"]
            for state in self.ask("get_states")
            if state["attributes"].get("id") == identity
        )

    def entities(self, device: str) -> dict[str, Any]:
        """Return what the registry knows of each entity of a device, by its unique id."""
        found = self.ask("config/entity_registry/list")
        prefix = f"affectd_{device}_"
        return {one["unique_id"].removeprefix(prefix): one for one in found if one["unique_id"].startswith(prefix)}

    def device(self, device: str) -> dict[str, Any]:
        """Return what the registry knows of a device."""
        (found,) = (
            one
            for one in self.ask("config/device_registry/list")
            if ["mqtt", f"affectd_{device}"] in one["identifiers"]
        )
        return dict(found)

    def _call(self, path: str, body: Any) -> Any:
        token = getattr(self, "_token", None)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        return self._open(path, json.dumps(body).encode(), headers)

    def _open(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from None
