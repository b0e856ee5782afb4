"""The app and the blueprints for Home Assistant are what it reads; `tests/system` has the real programs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from affectd import __version__
from affectd.config.loading import load_config
from affectd.config.sections import SECTIONS
from affectd.recognition.affect import COORDINATES
from documents import REPOSITORY

FOLDER = REPOSITORY / "scripts/home-assistant"
APP = FOLDER / "affectd"
BLUEPRINTS = sorted((FOLDER / "blueprints").glob("*.yaml"))
HADOLINT = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))

# supervisor/apps/validate.py and options.py of Home Assistant's Supervisor, for the keys that we use.
ELEMENT = (
    r"^(?:bool|email|url|port|device(\(subsystem=[a-z]+\))?|(str|password)(\(\d*,\d*\))?"
    r"|int(\(-?\d*,-?\d*\))?|float(\(-?\d*\.?\d*,-?\d*\.?\d*\))?|match\(.*\)|list\(.+\))\??$"
)
CONFIG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "version", "slug", "description", "arch"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "slug": {"type": "string", "pattern": r"^[-_.A-Za-z0-9]+$"},
        "description": {"type": "string"},
        # armhf, armv7 and i386 are deprecated.
        "arch": {"type": "array", "items": {"enum": ["aarch64", "amd64"]}},
        "homeassistant": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "startup": {"enum": ["initialize", "system", "services", "application", "once"]},
        "audio": {"type": "boolean"},
        "services": {"type": "array", "items": {"pattern": "^(mqtt|mysql):(provide|want|need)$"}},
        "ingress": {"type": "boolean"},
        "ingress_port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "panel_icon": {"type": "string", "pattern": "^mdi:[a-z-]+$"},
        "panel_admin": {"type": "boolean"},
        "watchdog": {"pattern": r"^(?:https?|\[PROTO:\w+\]|tcp):\/\/\[HOST\]:(\[PORT:\d+\]|\d+).*$"},
        "options": {"type": "object"},
        "schema": {"type": "object", "additionalProperties": {"type": "string", "pattern": ELEMENT}},
    },
}
TRANSLATION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["configuration"],
    "properties": {
        "configuration": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "description": {"type": "string"}},
            },
        }
    },
}


class Input(str):
    """The name of an input of a blueprint."""


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader)


CONFIG_FILE: dict[str, Any] = read(APP / "config.yaml")


def test_the_supervisor_accepts_the_app() -> None:
    jsonschema.validate(CONFIG_FILE, CONFIG)
    assert CONFIG_FILE["version"] == __version__
    assert set(CONFIG_FILE["options"]) <= set(CONFIG_FILE["schema"])
    optional = {name for name, kind in CONFIG_FILE["schema"].items() if kind.endswith("?")}
    assert not optional & set(CONFIG_FILE["options"]), "an option with a default is not optional"
    assert optional | set(CONFIG_FILE["options"]) == set(CONFIG_FILE["schema"]), "the app does not start as it comes"
    repository = read(FOLDER / "repository.yaml")
    assert set(repository) <= {"name", "url", "maintainer"}
    assert isinstance(repository["name"], str)


@pytest.mark.parametrize(
    "wrong",
    [{"arch": ["armv7"]}, {"audio": "yes"}, {"advanced": True}, {"schema": {"a": "text"}}, {"watchdog": "8099"}],
)
def test_a_wrong_app_is_noticed(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**CONFIG_FILE, **wrong}, CONFIG)


def setting_of(variable: str) -> Any:
    known = {
        f"AFFECTD_{section}_{key.name}".upper(): key for section, found in SECTIONS.items() for key in fields(found)
    }
    return known.get(variable)


def test_every_option_is_a_setting_and_its_range_is_within_that_of_the_setting() -> None:
    for option, kind in CONFIG_FILE["schema"].items():
        if option == "mqtt_password":  # which is read from a file alone
            option = "mqtt_password_file"
        key = setting_of(f"AFFECTD_{option}".upper())
        assert key is not None, option
        kind = kind.removesuffix("?")
        if option == "mqtt_password_file":
            assert kind == "password"
        elif kind == "bool":
            assert key.type == "bool"
        elif kind.startswith("float"):
            low, high = map(float, re.findall(r"[\d.]+", kind))
            assert (key.metadata["low"], key.metadata["high"]) == (low, high)
        elif kind.startswith("match"):
            assert kind == f"match(^{key.metadata['pattern']}$)"
        elif kind == "port":
            assert key.type.startswith("int")
        else:
            assert (kind, key.type) == ("str", "str")
        assert key.default is not MISSING


@pytest.mark.parametrize("path", sorted((APP / "translations").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_option_has_a_name_in_every_language(path: Path) -> None:
    translation = read(path)
    jsonschema.validate(translation, TRANSLATION)
    assert list(translation["configuration"]) == list(CONFIG_FILE["schema"])


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, APP / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions, each with what it is given."""
    text = re.sub(r"^#.*\n", "", (APP / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_image_has_what_is_copied_and_what_is_begun() -> None:
    copied = [word for kind, given in dockerfile() if kind == "COPY" for word in given.split()[:-1]]
    assert set(copied) - {"source"} <= {path.name for path in APP.iterdir()}
    (command,) = (json.loads(given) for kind, given in dockerfile() if kind == "CMD")
    assert command == ["/opt/affectd/bin/python", "/app/run.py"]


def test_ingress_leads_to_the_page_and_for_home_assistant_alone() -> None:
    (given,) = (given for kind, given in dockerfile() if kind == "ENV")
    environment = dict(word.split("=", 1) for word in given.split())
    proxy = (APP / "nginx.conf").read_text()
    assert f"listen {CONFIG_FILE['ingress_port']};" in proxy
    page = f"{environment['AFFECTD_WEB_BIND']}:{environment['AFFECTD_WEB_PORT']}"
    assert f"proxy_pass http://{page};" in proxy
    # The address of the Supervisor, in Home Assistant's documentation of ingress.
    assert re.findall(r"(allow|deny) (.*);", proxy) == [("allow", "172.30.32.2"), ("deny", "all")]


def test_the_image_sets_what_is_a_setting() -> None:
    (given,) = (given for kind, given in dockerfile() if kind == "ENV")
    for variable in (word.split("=", 1)[0] for word in given.split()):
        assert not variable.startswith("AFFECTD_") or setting_of(variable) is not None, variable


SERVICE = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "s3cret, ü"}


@contextmanager
def supervisor(service: dict[str, Any] | None) -> Iterator[str]:
    """What answers as the Supervisor does about its broker; None: there is none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/services/mqtt" and self.headers["Authorization"] == "Bearer the-token"
            assert known, self.path
            answer = {"result": "ok", "data": service} if service else {"result": "error", "message": "not enabled"}
            body = json.dumps(answer).encode()
            self.send_response(200 if service else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/services/mqtt"
        server.shutdown()
        thread.join()


def start(folder: Path, options: dict[str, Any], service: dict[str, Any] | None) -> subprocess.CompletedProcess[str]:
    """Start the app with an affectd and a proxy that only tell what they were given."""
    (folder / "options.json").write_text(json.dumps(options))
    tell = folder / "affectd"
    tell.write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n")
    tell.chmod(0o755)
    program = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("run", sys.argv[1])
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
folder = pathlib.Path(sys.argv[2])
app.OPTIONS, app.PASSWORD, app.SERVICE = folder / "options.json", folder / "password", sys.argv[3]
app.PROXY, app.AFFECTD = ["true"], str(folder / "affectd")
app.main()
"""
    with supervisor(service) as url:
        return subprocess.run(
            [sys.executable, "-c", program, APP / "run.py", folder, url],
            env={"PATH": os.environ["PATH"], "SUPERVISOR_TOKEN": "the-token"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the settings that affectd was begun with."""
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads(done.stdout)
    assert arguments == ["run"]
    return {name: value for name, value in environment.items() if name.startswith("AFFECTD_")}


def test_the_app_starts_as_it_comes_with_the_broker_of_home_assistant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = told(start(tmp_path, CONFIG_FILE["options"], SERVICE))
    password = tmp_path / "password"
    assert settings == {
        "AFFECTD_DEVICE_ID": "home",
        "AFFECTD_MQTT_LISTEN_COMMAND": "true",
        "AFFECTD_MQTT_HOST": "core-mosquitto",
        "AFFECTD_MQTT_PORT": "1883",
        "AFFECTD_MQTT_USERNAME": "addons",
        "AFFECTD_MQTT_PASSWORD_FILE": str(password),
        "AFFECTD_MQTT_TLS": "false",
        "AFFECTD_MQTT_ALLOW_PLAIN_PASSWORD": "true",
    }
    assert password.read_text() == SERVICE["password"]
    assert password.stat().st_mode & 0o777 == 0o600
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    config = load_config()
    assert (config.device.id, config.mqtt.host, config.mqtt.listen_command) == ("home", "core-mosquitto", True)


def test_another_broker_is_asked_nothing_of_home_assistant(tmp_path: Path) -> None:
    options = {**CONFIG_FILE["options"], "mqtt_host": "broker.lan", "mqtt_username": "", "smoothing_uncertain": 0.5}
    assert told(start(tmp_path, options, SERVICE)) == {
        "AFFECTD_DEVICE_ID": "home",
        "AFFECTD_MQTT_LISTEN_COMMAND": "true",
        "AFFECTD_MQTT_HOST": "broker.lan",
        "AFFECTD_SMOOTHING_UNCERTAIN": "0.5",
    }
    assert not (tmp_path / "password").exists()


def test_without_a_broker_it_says_what_to_install(tmp_path: Path) -> None:
    done = start(tmp_path, CONFIG_FILE["options"], None)
    assert done.returncode == 1
    assert done.stderr.startswith('There is no MQTT broker: install the app "Mosquitto broker"')
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def install(*folders: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FOLDER / "install", *folders], capture_output=True, text=True, check=False, timeout=60, cwd=folders[0].parent
    )


def test_the_installed_app_holds_all_that_the_image_is_made_of(tmp_path: Path) -> None:
    apps, settings = tmp_path / "apps", tmp_path / "settings"
    for folder in (apps, settings):
        folder.mkdir()
    for _ in ("installed", "upgraded"):
        done = install(apps, settings)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in apps.iterdir()} == {"affectd"}
        # Each such file is an app for the Supervisor: supervisor/store/data.py.
        found = [path for suffix in ("yaml", "yml", "json") for path in apps.rglob(f"config.{suffix}")]
        assert found == [apps / "affectd/config.yaml"]
        source = apps / "affectd/source"
        for path in ("pyproject.toml", "README.md", "LICENSE", "edge/affectd/cli.py", "models/affectd.tflite"):
            assert (source / path).read_bytes() == (REPOSITORY / path).read_bytes()
        assert (source / "train/affectd_train/cli.py").exists()
        assert not list(apps.rglob("__pycache__"))
        installed = settings / "blueprints/automation/affectd"
        assert sorted(path.name for path in installed.iterdir()) == [path.name for path in BLUEPRINTS]
        (apps / "affectd/leftover").touch()
    assert not install(apps, settings).returncode
    assert not (apps / "affectd/leftover").exists()


def test_outside_of_home_assistant_the_installer_says_where_it_belongs(tmp_path: Path) -> None:
    if any(Path(folder).exists() for folder in ("/addons", "/local_apps")):
        pytest.skip("this is Home Assistant")
    done = subprocess.run([FOLDER / "install"], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 66
    assert done.stderr == ('there is no folder /addons: run this in the app "Terminal & SSH", or name the folder\n')


def inputs(blueprint: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs, those in sections as well."""
    found = {}
    for name, about in blueprint["blueprint"]["input"].items():
        found |= about.get("input", {name: about})
    return found


def used(value: Any) -> set[str]:
    if isinstance(value, Input):
        return {str(value)}
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(used, inside))


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_every_input_of_a_blueprint_is_explained_and_used(path: Path) -> None:
    blueprint = read(path)
    assert blueprint["blueprint"]["domain"] == "automation"
    assert used({key: value for key, value in blueprint.items() if key != "blueprint"}) == set(inputs(blueprint))
    for about in inputs(blueprint).values():
        assert about["name"]
        assert len(about["selector"]) == 1
    assert {name for name, about in inputs(blueprint).items() if "default" not in about} <= {"rooms", "actions"}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_offers_the_labels_of_the_model(path: Path) -> None:
    emotions = inputs(read(path))["emotions"]
    assert set(emotions["selector"]["select"]["options"]) == set(COORDINATES)
    assert set(emotions["default"]) <= set(COORDINATES)


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_what_the_device_names_is_sure_enough_for_a_blueprint(path: Path) -> None:
    # Each model file has a threshold of its own, and a device may be given another.
    assert inputs(read(path))["sure"]["default"] == 0


def test_the_blueprints_differ_only_in_where_they_hear_of_it() -> None:
    one, other = map(read, BLUEPRINTS)
    differ = {key for key in one if one[key] != other[key]}
    assert differ == {"blueprint", "variables", "triggers", "conditions"}
    assert {name: inputs(one)[name] for name in inputs(one) if name != "rooms"} == {
        name: inputs(other)[name] for name in inputs(other) if name != "topic"
    }
    assert one["conditions"][1:] == other["conditions"][1:]


def test_the_start_of_the_app_needs_nothing_that_is_not_in_the_image() -> None:
    spec = importlib.util.spec_from_file_location("run", APP / "run.py")
    assert spec is not None
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import runpy; runpy.run_path({str(APP / 'run.py')!r})"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
