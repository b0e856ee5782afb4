"""Passwords, certificates, and settings that would give them away."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.config.sections import MqttConfig
from affectd.errors import ConfigError
from affectd.mqtt.credentials import Login, exposed, is_loopback, read_login, tls_context
from broker import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("open sesame\n")
    return str(path)


def login(environment: dict[str, str] | None = None, **settings: Any) -> Login:
    return read_login(MqttConfig(**{"username": "pi", **settings}), environment or {})


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"open sesame", "open sesame"),
        (b"open sesame\n", "open sesame"),
        (b"open sesame\r\nsomething else\n", "open sesame"),
        (b"  spaces count ", "  spaces count "),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"\xef\xbb\xbfopen sesame\r\n", "open sesame"),
        (b"x" * 65535, "x" * 65535),
    ],
)
def test_the_password_is_the_first_line_of_its_file(tmp_path: Path, content: bytes, password: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    assert login(password_file=str(path)) == Login("pi", password)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\nopen sesame", "empty"),
        (b"x" * 65536, "too long"),
        (b"\xff\xfe", "UTF-8"),
        ("open".encode("utf-16-le"), "NUL"),
        (None, "No such file"),
    ],
)
def test_a_file_without_a_password_is_a_fault_of_the_settings(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        login(password_file=str(path))


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Files that never end: a device, a pipe that is open, a pipe that is never written to, a file of 1 TB."""
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    reader, writer = os.pipe()
    yield lambda name: name.format(pipe=reader, fifo=tmp_path / "fifo", large=tmp_path / "large")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/fd/{pipe}", "{fifo}", "{large}"])
def test_files_that_never_end_are_refused(
    endless: Callable[[str], str], certificates: Certificates, tmp_path: Path, name: str
) -> None:
    path = endless(name)
    with pytest.raises(ConfigError, match=r"\[mqtt\] password_file .* cannot be read: (a pipe|larger)"):
        login(password_file=path)
    (tmp_path / "mqtt_password").symlink_to(path)
    with pytest.raises(ConfigError, match=r"the credential .* cannot be read: (a pipe|larger)"):
        login({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    certificate, private_key = certificates.issue("client")
    good = {"cert_file": str(certificate), "key_file": str(private_key)}
    for key in ("ca_file", "cert_file", "key_file"):
        with pytest.raises(ConfigError, match=rf"\[mqtt\] {key} .* cannot be read: (a pipe|larger)"):
            tls_context(MqttConfig(tls=True, **{**good, key: path}))


@pytest.mark.parametrize("path", ["/", "a\0b", "/dev/zero"])
def test_a_password_file_that_is_no_file_is_a_sentence(path: str) -> None:
    with pytest.raises(ConfigError):
        login(password_file=path)


def test_the_credential_of_systemd_is_the_password_if_there_is_no_file(tmp_path: Path, secret: str) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert login(environment).password is None
    (tmp_path / "mqtt_password").write_text("")  # what the unit has if none was set
    assert login(environment).password is None
    (tmp_path / "mqtt_password").write_text("from systemd\n")
    assert login(environment).password == "from systemd"
    assert login(environment, password_file=secret).password == "open sesame"
    (tmp_path / "mqtt_password").unlink()
    (tmp_path / "mqtt_password").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="the credential"):
        login(environment)


def test_without_a_password_a_user_name_is_optional() -> None:
    assert read_login(MqttConfig(), {}) == Login(None, None)
    assert login(host="broker.lan") == Login("pi", None)


def test_a_password_needs_a_user_name(secret: str) -> None:
    with pytest.raises(ConfigError, match="username"):
        login(username="", password_file=secret)


@pytest.mark.parametrize("host", ["broker.lan", "192.168.1.2", "::2", "localhost.lan", "127.0.0.1.lan", "0.0.0.0"])
def test_a_password_does_not_cross_the_network_in_the_clear_unless_that_is_allowed(host: str, secret: str) -> None:
    with pytest.raises(ConfigError, match=r"tls = true.*allow_plain_password"):
        login(host=host, password_file=secret)
    assert login(host=host, password_file=secret, tls=True).password
    assert login(host=host, password_file=secret, allow_plain_password=True).password


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1.2.3", "::1"])
def test_a_password_may_go_to_this_machine(host: str, secret: str) -> None:
    assert is_loopback(host)
    assert login(host=host, password_file=secret).password == "open sesame"


@given(st.text(min_size=1))
def test_whether_a_host_is_this_machine_can_be_asked_of_any_text(host: str) -> None:
    is_loopback(host)


def test_the_password_is_not_shown(secret: str) -> None:
    assert "sesame" not in repr(login(password_file=secret))


# --- TLS ---------------------------------------------------------------------------------------------------------


def context(**settings: Any) -> ssl.SSLContext:
    made = tls_context(MqttConfig(**{"tls": True, **settings}))
    assert made is not None
    return made


def test_a_certificate_and_its_name_are_always_checked(certificates: Certificates) -> None:
    for made in (context(), context(ca_file=str(certificates.authority))):
        assert made.check_hostname
        assert made.verify_mode == ssl.CERT_REQUIRED
        assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert tls_context(MqttConfig()) is None


def test_an_authority_of_ones_own_is_the_only_one(certificates: Certificates) -> None:
    assert len(context(ca_file=str(certificates.authority)).get_ca_certs()) == 1


def test_what_openssl_makes_by_its_manual_is_good_enough(certificates: Certificates) -> None:
    """Python 3.13 would refuse an authority without an identifier of its key, and mosquitto-tls(7) makes such."""
    assert not context().verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_certificates_without_tls_are_a_contradiction(name: str, certificates: Certificates) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*tls"):
        tls_context(MqttConfig(**{name: str(certificates.authority)}))


def test_a_certificate_of_the_client_is_loaded_with_its_key(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = certificates.issue("client")
    context(cert_file=str(certificate), key_file=str(key))
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    context(cert_file=str(both))
    with pytest.raises(ConfigError, match="cert_file"):
        context(key_file=str(key))


def test_files_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    certificate, key = certificates.issue("client")
    _, other_key = certificates.issue("other")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for settings, words in [
        ({"ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem cannot be read: No such file"),
        ({"ca_file": str(empty)}, "ca_file .*empty.pem cannot be used"),
        ({"ca_file": "a\0b"}, "ca_file"),
        ({"cert_file": "/nowhere.pem"}, "cert_file /nowhere.pem cannot be read"),
        ({"cert_file": str(certificate)}, "cert_file .* cannot be used: no certificate with its key.*; set key_file"),
        ({"cert_file": str(key), "key_file": str(certificate)}, "key_file .*: no certificate with its key, as PEM$"),
        ({"cert_file": str(certificate), "key_file": str(other_key)}, "key values mismatch"),
        ({"cert_file": str(key), "key_file": str(key)}, "cert_file"),
    ]:
        with pytest.raises(ConfigError, match=words):
            context(**settings)


def test_no_passphrase_is_asked_for(certificates: Certificates, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    certificate, key = certificates.issue("client")
    loaded = load_pem_private_key(key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase"))
    )
    with pytest.raises(ConfigError, match="without a passphrase"):
        context(cert_file=str(certificate), key_file=str(encrypted))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606, 0o602])
def test_a_secret_that_every_user_can_read_is_told(secret: str, tmp_path: Path, mode: int) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    os.chmod(secret, mode)
    key.chmod(mode)
    assert exposed(MqttConfig(password_file=secret), {}) == [secret]
    assert exposed(MqttConfig(key_file=str(key)), {}) == [str(key)]
    assert exposed(MqttConfig(cert_file=str(key)), {}) == [str(key)], "without a key file it holds the key"
    assert exposed(MqttConfig(password_file=secret, key_file=str(key)), {}) == [secret, str(key)]
    (tmp_path / "mqtt_password").touch()
    (tmp_path / "mqtt_password").chmod(mode)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert exposed(MqttConfig(), environment) == [str(tmp_path / "mqtt_password")]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_secret_of_its_owner_and_group_is_fine(secret: str, mode: int) -> None:
    os.chmod(secret, mode)  # systemd's credentials have 0400, or 0440 with an access list
    assert exposed(MqttConfig(password_file=secret), {}) == []
    assert exposed(MqttConfig(password_file="/nowhere/password"), {}) == []
    assert exposed(MqttConfig(), {}) == []
