"""Settings: where a value comes from, what is refused and in which words, and documents that keep up."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from affectd.config import loading
from affectd.config.fields import Section, from_text, setting, toml
from affectd.config.loading import as_toml, load_config, load_settings
from affectd.config.sections import SECTIONS, Config, GateConfig, MqttConfig
from affectd.errors import ConfigError, UnavailableError
from affectd.recognition.model_file import write_model
from config_documents import PAGE, SAMPLE, TABLE, sample, table
from sounds import silence, syllables, write_wav
from tiny_model import tiny_model

SYSTEM_FILE = loading.SYSTEM_FILE
KEYS = [(name, key) for name, section in SECTIONS.items() for key in fields(section)]
IDS = [f"{name}.{key.name}" for name, key in KEYS]
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
PLAIN = st.text(CHARACTERS)


@pytest.fixture(autouse=True, scope="module")
def nothing_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the settings of this machine nor those of the user who runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AFFECTD_")}
    nowhere = tmp_path_factory.mktemp("etc") / "affectd.toml"
    with mock.patch.dict(os.environ, clean, clear=True), mock.patch.object(loading, "SYSTEM_FILE", nowhere):
        yield


def written(folder: Path, text: str) -> Path:
    path = folder / "affectd.toml"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def variable(name: str, key: str) -> str:
    return f"AFFECTD_{name}_{key}".upper()


def values(key: Field[Any]) -> st.SearchStrategy[Any]:
    """Values that a key may have."""
    kinds, limits = str(key.type).split(" | "), key.metadata
    some = {
        "str": lambda: st.from_regex(re.compile(limits["pattern"]), fullmatch=True, alphabet=CHARACTERS),
        "bool": st.booleans,
        "int": lambda: st.integers(limits["low"], limits["high"]),
        "float": lambda: st.floats(limits["low"], limits["high"]),
    }
    return st.one_of(*(some[kind]() for kind in kinds if kind != "None"))


def text(value: object) -> str:
    """A value as it is written into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_without_file_and_environment_everything_has_its_default() -> None:
    assert load_config() == Config()


@pytest.mark.parametrize(("name", "key"), KEYS, ids=IDS)
@settings(max_examples=10)
@given(data=st.data())
def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path_factory: pytest.TempPathFactory, name: str, key: Field[Any], data: st.DataObject
) -> None:
    in_file, in_environment, in_options = (data.draw(values(key)) for _ in range(3))
    path = written(tmp_path_factory.getbasetemp(), f"[{name}]\n{key.name} = {toml(in_file)}\n")
    for has_file, has_variable, has_option in itertools.product([False, True], repeat=3):
        expected, origin = getattr(SECTIONS[name](), key.name), "default"
        if has_file:
            expected, origin = in_file, f"file {path}"
        if has_variable and text(in_environment):  # empty is not set
            expected, origin = in_environment, f"environment {variable(name, key.name)}"
        if has_option:
            expected, origin = in_options, "command line"
        environment = {variable(name, key.name): text(in_environment)} if has_variable else {}
        arguments = (path if has_file else None, {(name, key.name): in_options} if has_option else None)
        with mock.patch.dict(os.environ, environment):
            assert load_settings(*arguments)[name][key.name] == (expected, origin)
            assert getattr(getattr(load_config(*arguments), name), key.name) == expected


def test_the_file_in_etc_is_read_if_it_exists_and_another_one_takes_its_place(tmp_path: Path) -> None:
    assert Path("/etc/affectd/affectd.toml") == SYSTEM_FILE
    system = written(tmp_path, "[gate]\nmargin_db = 9\n[smoothing]\npatience = 3")
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", "[gate]\nfall_db = 5")
    with mock.patch.object(loading, "SYSTEM_FILE", system):
        assert load_config().gate == GateConfig(margin_db=9.0)
        assert load_config().smoothing.patience == 3
        assert load_config(other) == Config(gate=GateConfig(fall_db=5.0)), "nothing of the system's file is left"
        assert load_settings()["gate"]["margin_db"].origin == f"file {system}"
        system.unlink()
        assert load_config() == Config()


def test_loading_again_gives_what_has_changed_or_says_what_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, "[gate]\nmargin_db = 9")
    assert load_config(path).gate.margin_db == 9
    written(tmp_path, "[gate]\nmargin_db = 10")
    assert load_config(path).gate.margin_db == 10
    written(tmp_path, "[gate]\nmargin_db = 1000")
    with pytest.raises(ConfigError):
        load_config(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[gate]\nhangover_second = 1", "unknown key hangover_second in [gate]; did you mean hangover_seconds?"),
        ("[gate]\nMARGIN_DB = 9", "unknown key MARGIN_DB in [gate]; did you mean margin_db?"),
        ("[model]\nmargin_db = 9", "unknown key margin_db in [model]; it belongs below [gate]"),
        (
            "[model]\nxyzzy = 9",
            "unknown key xyzzy in [model]; known are path, trusted_keys, download_mb, stride_frames",
        ),
        (
            '[model]\n"a\\nb" = 9',
            'unknown key "a\\nb" in [model]; known are path, trusted_keys, download_mb, stride_frames',
        ),
        ("[smoothin]\n", "unknown section [smoothin]; did you mean [smoothing]?"),
        ("[xyzzy]\n", f"unknown section [xyzzy]; known are {', '.join(f'[{name}]' for name in SECTIONS)}"),
        ("margin = 9", "margin stands before any section; did you mean margin_db below [gate]?"),
        ("gate = 3", "gate must be a section: write [gate] and its keys below"),
        ("[[gate]]\n", "gate must be a section: write [gate] and its keys below"),
        ("[gate]\nmargin_db = -3", "[gate] margin_db must be a number from 1 to 60, not -3"),
        ("[gate]\nmargin_db = nan", "[gate] margin_db must be a number from 1 to 60, not nan"),
        ("[gate]\nmargin_db = inf", "[gate] margin_db must be a number from 1 to 60, not inf"),
        ('[gate]\nmargin_db = "8"', '[gate] margin_db must be a number from 1 to 60, not "8"'),
        ("[gate]\nmargin_db = 2020-01-02", "[gate] margin_db must be a number from 1 to 60, not 2020-01-02"),
        (f"[gate]\nmargin_db = 1{'0' * 400}", f"[gate] margin_db must be a number from 1 to 60, not 1{'0' * 59}..."),
        (
            f"[gate]\nmargin_db = 0x{'f' * 5000}",
            "[gate] margin_db must be a number from 1 to 60, not a number of thousands of digits",
        ),
        ("[gate.margin_db]", "[gate] margin_db must be a number from 1 to 60, not {}"),
        ("[model]\nstride_frames = 1.0", "[model] stride_frames must be a whole number from 1 to 1000, not 1.0"),
        ("[smoothing]\npatience = true", "[smoothing] patience must be a whole number from 1 to 1000, not true"),
        ("[smoothing]\nuncertain = 1.5", "[smoothing] uncertain must be a number from 0 to 1, not 1.5"),
        ('[device]\nid = "two words"', '[device] id must be letters, digits, _ and -, not "two words"'),
        ('[device]\nid = ""', '[device] id must be letters, digits, _ and -, not ""'),
        ("[device]\nid = 7", "[device] id must be letters, digits, _ and -, not 7"),
        ("[model]\npath = 7", "[model] path must be text, not 7"),
        ('[audio]\nsource = ""', '[audio] source must be `mic`, `-` or the path of a WAV file, not ""'),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_way_out(tmp_path: Path, content: str, sentence: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as failure:
        load_config(path)
    assert str(failure.value) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GATE_MARGIN", "8", "unknown {}; did you mean AFFECTD_GATE_MARGIN_DB?"),
        ("SMOTHING_PATIENCE", "8", "unknown {}; did you mean AFFECTD_SMOOTHING_PATIENCE?"),
        ("gate_margin_db", "8", "unknown {}; did you mean AFFECTD_GATE_MARGIN_DB?"),
        ("HOST", "broker", "unknown {}; did you mean AFFECTD_MQTT_HOST?"),
        ("PORT", "1883", "unknown {}; did you mean AFFECTD_MQTT_PORT or AFFECTD_WEB_PORT?"),
        ("MQTT_HOSTNAME", "broker", "unknown {}; did you mean AFFECTD_MQTT_HOST?"),
        ("GATE_MARGIN_DB", "99", "{} must be a number from 1 to 60, not 99.0"),
        ("GATE_MARGIN_DB", "loud", '{} must be a number from 1 to 60, not "loud"'),
        ("GATE_MARGIN_DB", "nan", "{} must be a number from 1 to 60, not nan"),
        ("SMOOTHING_PATIENCE", "2.5", '{} must be a whole number from 1 to 1000, not "2.5"'),
        ("DEVICE_ID", "x" * 2000, "{} must be text of at most 1024 bytes, not of 2000"),
        ("FILE_PATH", "x" * 5000, "{} must be text of at most 4095 bytes, not of 5000"),
        ("MQTT_USERNAME", "\udcff", "{} must be UTF-8 text without NUL bytes"),
        ("MQTT_USERNAME", "anna\n", '{} must be one line of text, not "anna\\n"'),
    ],
)
def test_a_mistake_in_the_environment_is_named_with_the_way_out(name: str, value: str, sentence: str) -> None:
    with mock.patch.dict(os.environ, {f"AFFECTD_{name}": value}), pytest.raises(ConfigError) as failure:
        load_config()
    assert str(failure.value) == sentence.format(f"environment variable AFFECTD_{name}")


def test_a_mistake_in_the_file_is_found_behind_a_better_value_in_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, "[gate]\nmargin_db = 99")
    with mock.patch.dict(os.environ, AFFECTD_GATE_MARGIN_DB="9"), pytest.raises(ConfigError):
        load_config(path)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    loading._warn_once.cache_clear()
    return caplog


@pytest.mark.parametrize("name", ["XYZZY", "VERSION", "IMAGE_TAG", "LOG_LEVEL", "HOME", "ENV"])
def test_a_variable_that_resembles_no_key_is_a_warning(name: str, warned: pytest.LogCaptureFixture) -> None:
    with mock.patch.dict(os.environ, {f"AFFECTD_{name}": "open sesame"}):
        for _ in range(3):
            assert load_config() == Config()
    (record,) = warned.records
    assert record.getMessage().startswith(f"ignored the unknown environment variable AFFECTD_{name}; ")
    assert "sesame" not in record.getMessage()


def test_an_empty_variable_is_not_set(tmp_path: Path, warned: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "[gate]\nmargin_db = 9\n[smoothing]\nuncertain = 0.3\n[file]\npath = 'x'")
    variables = {f"AFFECTD_{name}_{key}".upper(): "" for name, keys in load_settings().items() for key in keys}
    with mock.patch.dict(os.environ, {**variables, "AFFECTD_XYZZY": "", "AFFECTD_GATE_MARGN_DB": ""}):
        config = load_config(path)
    assert (config.gate.margin_db, config.smoothing.uncertain, config.file.path) == (9, 0.3, "x")
    assert not warned.records


@pytest.mark.parametrize("service", ["AFFECTD", "AFFECTD_MQTT", "AFFECTD_FILE"])
def test_the_variables_of_kubernetes_are_not_settings(service: str, warned: pytest.LogCaptureFixture) -> None:
    # https://kubernetes.io/docs/tutorials/services/connect-applications-service/
    variables = {
        "SERVICE_HOST": "10.0.162.149",
        "SERVICE_PORT": "1883",
        "SERVICE_PORT_MQTT_TLS": "8883",
        "PORT": "tcp://10.0.162.149:1883",
        "PORT_1883_TCP": "tcp://10.0.162.149:1883",
        "PORT_1883_TCP_PROTO": "tcp",
        "PORT_1883_TCP_PORT": "1883",
        "PORT_1883_TCP_ADDR": "10.0.162.149",
    }
    with mock.patch.dict(os.environ, {f"{service}_{name}": value for name, value in variables.items()}):
        assert load_config() == Config()
    assert not warned.records


@pytest.mark.parametrize("name", ["AFFECTD_MQTT_HOST", "AFFECTD_HOST", "AFFECTD_DEVICE_ID"])
def test_an_address_is_left_out_only_where_kubernetes_sets_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "tcp://broker:1883")
    with pytest.raises(ConfigError, match=name):
        load_config()


@pytest.mark.parametrize("key", [f"{name}.{key.name}" for name, section in SECTIONS.items() for key in fields(section)])
@pytest.mark.parametrize("text", ["a\0b", "x" * 5000, "\ud800" * 2000], ids=["NUL", "long", "surrogates"])
def test_no_setting_takes_text_that_the_system_cannot_use(tmp_path: Path, key: str, text: str) -> None:
    section, _, name = key.partition(".")
    with pytest.raises(ConfigError):
        load_settings(options={(section, name): text})
    with pytest.raises(ConfigError):
        SECTIONS[section](**{name: text})
    if "\ud800" not in text:
        with pytest.raises(ConfigError) as caught:
            load_config(written(tmp_path, f"[{section}]\n{name} = {json.dumps(text)}"))
        assert caught.value.exit_code == 78
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "host", ["me:open-sesame@broker", "mqtt://me:open-sesame@broker", "me:open-sesame", "open-sesame@broker"]
)
def test_a_password_in_the_host_is_refused_and_not_shown(tmp_path: Path, host: str) -> None:
    path = written(tmp_path, f'[mqtt]\nhost = "{host}"')
    with pytest.raises(ConfigError, match=r"\[mqtt\] host must be .* alone") as caught:
        load_config(path)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("host", ["broker", "broker.lan", "10.0.0.1", "::1", "fe80::1%eth0", "ölkännchen.example"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert MqttConfig(host=host).host == host


@pytest.mark.parametrize(
    "content",
    ["{}b = 1", "[{}b]", "a = {{{}c = 1}}", '"#".{}b = 1', '["#".{}b]', 'a = ["""\n#""", {{{}c = 1}}]'],
    ids=["key", "section", "inline", "key behind a #", "section behind a #", "inline behind a #"],
)
def test_a_key_of_thousands_of_parts_takes_no_time(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text("# ...\n" + content.format("a." * 30000))
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"^cannot read the configuration .*a\.toml: a line has more than 200 dots$"):
        load_config(file)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("name", ["/dev/zero", "fifo", "large"])
def test_a_configuration_that_never_ends_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=r"^cannot read the configuration"):
        load_config(tmp_path / name)


def test_other_variables_are_not_looked_at() -> None:
    with mock.patch.dict(os.environ, AFFECT_X="1", AFFECTDX="1", affectd_gate_margin="1", AFFECTD_DATA="/recordings"):
        assert load_config() == Config()


def test_the_variables_of_these_tests_may_be_set_while_the_programs_run() -> None:
    sources = [path.read_text() for path in Path(__file__).parents[2].rglob("*.py")]
    names = {name for source in sources for name in re.findall(r'environ(?:\.get\(|\[)"(AFFECTD_\w+)"', source)}
    assert "AFFECTD_DATA" in names
    with mock.patch.dict(os.environ, dict.fromkeys(names, "/somewhere")):
        assert load_config() == Config()


@dataclass(frozen=True, kw_only=True)
class Kinds(Section):
    name = "kinds"
    on: bool = setting(False)
    count: int = setting(1, 0, 9)
    level: float = setting(1.0, 0.0, 9.0)


@pytest.mark.parametrize(
    ("key", "written_as", "value"),
    [
        *[("on", word, True) for word in ("true", "True", "YES", "1")],
        *[("on", word, False) for word in ("false", "False", "NO", "0")],
        *[("on", word, word) for word in ("", "on", "2", "truth")],
        *[("count", word, 7) for word in ("7", " 7 ", "+7")],
        *[("count", word, word) for word in ("", "7.0", "7e0", "seven", "9" * 5000)],
        *[("level", word, 7.0) for word in ("7", "7.0", " 7e0 ")],
        *[("level", word, word) for word in ("", "7,0", "7 dB")],
    ],
)
def test_a_variable_is_read_by_the_type_of_its_key(key: str, written_as: str, value: object) -> None:
    (field,) = [field for field in fields(Kinds) if field.name == key]
    read = from_text(field, written_as)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("wrong", [{"on": 1}, {"on": "true"}, {"count": True}, {"count": 1.0}, {"level": True}])
def test_true_and_1_are_not_the_same_in_a_file(wrong: dict[str, object]) -> None:
    assert Kinds(on=True, count=1, level=1.0).on
    with pytest.raises(ConfigError, match=r"^\[kinds\] \w+ must be (true or false|a (whole )?number from 0 to 9), not"):
        Kinds(**wrong)  # type: ignore[arg-type]


def test_whole_numbers_are_numbers_and_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff[gate]\r\nmargin_db = 9\r\n")
    margin = load_config(path).gate.margin_db
    assert (type(margin), margin) == (float, 9.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[gate", "(at end of document)"),
        (b'[device]\nid = "\xff"', "line 2 is not UTF-8; save it as UTF-8"),
        ("[device] # Küche".encode("utf-16"), "it is UTF-16, which Notepad calls Unicode; save it as UTF-8"),
        ("[device] # Küche".encode("utf-16-le"), "it is UTF-16"),
        ("[device]".encode("utf-16-be"), "it is UTF-16"),
        (bytes(300), "it holds nothing but zeros, as after a power cut"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "4300 digits"),
        (b"a = 2026-13-01", "(at line 1"),
        (b'[audio] device = "card:Device"', "a [section] stands on a line of its own"),
        (b"[audio]\ndevice = card:Device", "text is in quotes"),
    ],
)
def test_a_file_that_is_no_toml_is_a_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "affectd.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{path} is not valid TOML: ")) as failure:
        load_config(path)
    assert words in str(failure.value)


def test_a_named_file_must_exist_and_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"Is a directory"):
        load_config(tmp_path)
    with mock.patch.object(loading, "SYSTEM_FILE", tmp_path), pytest.raises(ConfigError, match="Is a directory"):
        load_config()


@pytest.mark.parametrize("link", ["affectd.toml", "affectd"])
def test_a_link_that_leads_nowhere_is_not_no_file(tmp_path: Path, link: str) -> None:
    """Such as to a card that is mounted later: a restart helps, and the defaults are not what its owner wants."""
    system = tmp_path / "affectd/affectd.toml"
    if link == "affectd.toml":
        system.parent.mkdir()
        system.symlink_to(tmp_path / "card/affectd.toml")
    else:
        system.parent.symlink_to(tmp_path / "card")
    with mock.patch.object(loading, "SYSTEM_FILE", system):
        for path in (None, system):
            with pytest.raises(UnavailableError, match=f"/{link} is a link to {tmp_path}/card.*, which is not there"):
                load_config(path)
        (tmp_path / "card").mkdir()
        written(tmp_path / "card", "[gate]\nmargin_db = 9")
        assert load_config().gate.margin_db == 9


def loaded(path: Path | None) -> tuple[Config | None, str]:
    """The settings, or else the sentence that refuses them; any other failure is one of the test."""
    try:
        return load_config(path), ""
    except ConfigError as refusal:
        return None, str(refusal)


NAMES = st.sampled_from([*SECTIONS, *(key.name for _, key in KEYS), "xyzzy", "gate.margin_db"])
VALUES = st.one_of(
    PLAIN.map(toml),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["true", "[]", "{}", "{ a = 1 }", "1979-05-27", "07:32:00", "0x" + "f" * 5000, "[[[]]]", ""]),
)
LINES = st.one_of(
    NAMES.map("[{}]".format), NAMES.map("[[{}]]".format), st.builds("{} = {}".format, NAMES, VALUES), PLAIN
)


@given(content=st.one_of(PLAIN, st.lists(LINES, max_size=8).map("\n".join)))
def test_whatever_the_file_holds_it_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    config, refusal = loaded(path)
    assert (config is None) != (refusal == "")
    if config is None:
        assert str(path) in refusal
        assert "\n" not in refusal
        assert len(refusal) < len(str(path)) + 300


@given(
    environment=st.dictionaries(
        st.one_of(
            st.sampled_from([variable(name, key.name) for name, key in KEYS]),
            PLAIN.filter(lambda name: "=" not in name).map("AFFECTD_{}".format),
        ),
        st.one_of(PLAIN, st.integers().map(str), st.floats().map(str)),
        max_size=3,
    )
)
def test_whatever_the_environment_holds_it_is_read_or_refused_in_one_line(environment: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, environment):
        config, refusal = loaded(None)
    if config is None:
        assert any(name in refusal or toml(name)[:40] in refusal for name in environment)
        assert "\n" not in refusal
        assert len(refusal) < 400
    else:
        ignored = "\n".join(loading.ignored_variables(environment))
        unknown = set(environment) - {variable(name, key.name) for name, key in KEYS}
        assert all(name in ignored or toml(name)[:40] in ignored for name in unknown if environment[name])


@settings(max_examples=30)
@given(data=st.data())
def test_what_is_shown_is_a_file_that_gives_the_same_settings(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    options = {(name, key.name): data.draw(values(key)) for name, key in KEYS}
    try:
        shown = as_toml(load_settings(None, options))
    except ConfigError as error:
        assume("of its own" not in str(error))  # two of them name one file
        raise
    path = written(tmp_path_factory.getbasetemp(), shown)
    assert load_config(path) == load_config(None, options)
    lines = [line for line in shown.splitlines() if line and not line.startswith("[")]
    assert all(line.endswith("  # command line") for line in lines)


def test_a_path_that_is_not_utf8_is_shown_in_a_comment() -> None:
    shown = as_toml(load_settings(None, {("audio", "source"): "caf\udce9.wav"}))
    assert "source" not in tomllib.loads(shown)["audio"]
    assert re.search(r'^# not UTF-8: source = "caf\\U0000DCE9\.wav" +# command line$', shown, re.MULTILINE)


def test_what_is_shown_lines_up_and_stays_a_file_whatever_the_path_of_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    shown = as_toml(load_settings(written(folder, "[smoothing]\nuncertain = 0.25\npatience = 3")))
    assert len({line.index(" # ") for line in shown.splitlines() if not line.startswith(("[", "#")) and line}) == 1
    assert tomllib.loads(shown)["smoothing"]["uncertain"] == 0.25
    assert "# uncertain" in as_toml(load_settings())
    assert "uncertain" not in tomllib.loads(as_toml(load_settings()))["smoothing"]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "affectd", *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def without_nothing(values: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """TOML has no word for nothing."""
    return {name: {key: value for key, value in keys.items() if value is not None} for name, keys in values.items()}


def test_config_shows_every_value_and_where_it_came_from(tmp_path: Path) -> None:
    path = written(tmp_path, "[gate]\nmargin_db = 9\nfall_db = 5\n[device]\nid = 'kitchen'")
    environment = {"AFFECTD_GATE_MARGIN_DB": "10", "AFFECTD_MODEL_PATH": "/other.tflite"}
    arguments = ("config", "--config", path, "--source", "-", "--model", "/model.tflite")
    result = run(*arguments, "--json", **environment)
    assert (result.returncode, result.stderr) == (0, "")
    shown = json.loads(result.stdout)
    assert [(name, key) for name in shown for key in shown[name]] == [(name, key.name) for name, key in KEYS]
    assert shown["device"]["id"] == {"value": "kitchen", "origin": f"file {path}"}
    assert shown["gate"]["margin_db"] == {"value": 10.0, "origin": "environment AFFECTD_GATE_MARGIN_DB"}
    assert shown["gate"]["fall_db"] == {"value": 5.0, "origin": f"file {path}"}
    assert shown["audio"]["source"] == {"value": "-", "origin": "command line"}
    assert shown["model"]["path"] == {"value": "/model.tflite", "origin": "command line"}
    assert shown["smoothing"]["uncertain"] == {"value": None, "origin": "default"}

    result = run(*arguments, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.search(r"^margin_db = 10.0 +# environment AFFECTD_GATE_MARGIN_DB$", result.stdout, re.MULTILINE)
    values = {name: {key: s["value"] for key, s in keys.items()} for name, keys in shown.items()}
    assert tomllib.loads(result.stdout) == without_nothing(values)


@pytest.mark.parametrize("command", [["run"], ["classify", "x.wav"], ["model"], ["config"]], ids=" ".join)
def test_every_command_with_settings_refuses_wrong_ones_with_78(tmp_path: Path, command: list[str]) -> None:
    path = written(tmp_path, "[gate]\nmargin = 9")
    wrong = [
        (run(*command, "--config", path), "did you mean margin_db?"),
        (run(*command, AFFECTD_GATE_MARGIN="9"), "did you mean AFFECTD_GATE_MARGIN_DB?"),
        (run(*command, "--config", tmp_path / "none.toml"), "No such file"),
    ]
    for result, words in wrong:
        assert (result.returncode, result.stdout) == (78, "")
        assert result.stderr.startswith("affectd: ")
        assert result.stderr.count("\n") == 1
        assert words in result.stderr


def test_classify_and_model_follow_the_settings(tmp_path: Path) -> None:
    """Everything is speech for 60 s of hangover, and the model is the one of the environment."""
    model = tmp_path / "tiny.tflite"
    write_model(model, tiny_model())
    speech = write_wav(tmp_path / "speech.wav", np.concatenate([syllables(2), silence(4)]))
    here = {"AFFECTD_MODEL_PATH": str(model)}
    assert json.loads(run("model", **here).stdout)["path"] == str(model)
    usual = json.loads(run("classify", speech, **here).stdout)
    path = written(tmp_path, "[gate]\nhangover_seconds = 3")
    longer = json.loads(run("classify", speech, "--config", path, **here).stdout)
    assert set(usual["probabilities"]) == set(tiny_model().labels)
    assert longer["speech_seconds"] == pytest.approx(usual["speech_seconds"] + 2.5, abs=0.1)


def test_every_number_has_a_range() -> None:
    for name, key in KEYS:
        if "str" not in str(key.type) and "bool" not in str(key.type):
            assert math.isfinite(key.metadata["low"]), (name, key.name)
            assert math.isfinite(key.metadata["high"]), (name, key.name)


def test_no_two_settings_have_the_same_variable() -> None:
    assert len({variable(name, key.name) for name, key in KEYS}) == len(KEYS)


def test_the_documents_are_in_step() -> None:
    message = "run: python tests/config_documents.py"
    assert SAMPLE.read_text() == sample(), message
    (found,) = TABLE.findall(PAGE.read_text())
    assert found == table(), message


def test_the_sample_sets_nothing_and_uncommented_it_sets_every_default() -> None:
    content = SAMPLE.read_text()
    assert all(tables == {} for tables in tomllib.loads(content).values())
    uncommented = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", content, flags=re.MULTILINE))
    expected = without_nothing(asdict(Config()))
    del expected["device"]["id"]  # which is another on every machine
    assert uncommented == expected
    assert re.findall(r"^#?(\w+) =", content, re.MULTILINE) == [key.name for _, key in KEYS]
    assert load_config(SAMPLE) == Config()


def test_settings_cost_no_parser_where_there_is_no_file() -> None:
    code = (
        "import sys, pathlib; from affectd.config import loading; loading.SYSTEM_FILE = pathlib.Path('/nonexistent')\n"
    )
    code += "loading.load_config(); print([m for m in ('tomllib', 'difflib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_default_id_is_that_of_the_machine_but_an_old_file_keeps_the_old_one(tmp_path: Path) -> None:
    unset = load_settings()["device"]["id"]
    assert re.fullmatch("affectd-[0-9a-f]{8}", unset.value)
    assert unset == load_settings(written(tmp_path, SAMPLE.read_text()))["device"]["id"]
    # What earlier versions installed, whose topics and entities must stay what they are.
    old = '[device]\n\n# The name in every event. Letters, digits, _ and -.\n#id = "affectd"\n[mqtt]\nenabled = true\n'
    assert load_settings(written(tmp_path, old))["device"]["id"] == ("affectd", "default")
    assert load_config(written(tmp_path, old)).device.id == "affectd"
    given = load_settings(written(tmp_path, old.replace("#id", "id").replace("affectd", "kitchen")))
    assert given["device"]["id"].value == "kitchen"


@pytest.mark.parametrize("prefix", ["homeassistant", "home/ha", "a/b/c"])
def test_a_topic_of_home_assistant_may_have_levels(tmp_path: Path, prefix: str) -> None:
    text = f'[mqtt]\ndiscovery_prefix = "{prefix}"\nbirth_topic = "{prefix}/birth"\n'
    mqtt = load_config(written(tmp_path, text)).mqtt
    assert (mqtt.discovery_prefix, mqtt.birth_topic) == (prefix, f"{prefix}/birth")


@pytest.mark.parametrize("prefix", ["/a", "a/", "a//b", "a/+", "#", "two words", "a\\u0000", "a\\u007f"])
@pytest.mark.parametrize("key", ["discovery_prefix", "birth_topic"])
def test_what_is_no_topic_is_refused(tmp_path: Path, key: str, prefix: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load_config(written(tmp_path, f'[mqtt]\n{key} = "{prefix}"\n'))
