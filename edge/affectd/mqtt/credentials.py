"""User name, password and certificates for the broker."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from affectd.config.secret import credential_path, is_loopback, read_secret, readable_by_all
from affectd.config.sections import MqttConfig
from affectd.errors import ConfigError, unreadable
from affectd.files import read_file

_CREDENTIAL = "mqtt_password"
_HANDSHAKE_SECONDS = 10.0
_MOST_FILE_BYTES = 4_000_000  # all authorities that a system trusts take 0.3 MB


@dataclass(frozen=True)
class Login:
    """User name and password; the password is left out of the repr."""

    username: str | None
    password: str | None = field(repr=False)


def read_login(config: MqttConfig, environment: Mapping[str, str] = os.environ) -> Login:
    """Return user name and password.

    Raises
    ------
    ConfigError
        The password cannot be read, has no user name, or would cross the network in the clear.
    """
    password = read_secret(config.password_file, "[mqtt] password_file", _CREDENTIAL, environment)
    if password is not None:
        if not config.username:
            raise ConfigError("[mqtt] username is empty, but there is a password")
        if not config.tls and not config.allow_plain_password and not is_loopback(config.host):
            raise ConfigError(
                f"[mqtt] the password would go to {config.host} without encryption: set tls = true,"
                " or allow_plain_password = true if the whole network may read it"
            )
    return Login(config.username or None, password)


def exposed(config: MqttConfig, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the files with a secret that every user of this machine can read."""
    password = config.password_file or credential_path(_CREDENTIAL, environment)
    return readable_by_all([password, config.key_file or config.cert_file])


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """Return the context that checks the certificate of the broker and sends ours; None without TLS.

    Raises
    ------
    ConfigError
        A file cannot be used, or certificates are set while TLS is off.
    """
    if not config.tls:
        for name in ("ca_file", "cert_file", "key_file"):
            if getattr(config, name):
                raise ConfigError(f"[mqtt] {name} is set, but tls = false: nothing would be encrypted")
        return None
    if config.key_file and not config.cert_file:
        raise ConfigError("[mqtt] key_file is set, but cert_file is not")
    # Not ssl.create_default_context: since Python 3.13 its VERIFY_X509_STRICT rejects certificates that people make
    # with openssl for their own brokers. Names and dates are checked here too.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
    for name in ("ca_file", "cert_file", "key_file"):
        if path := getattr(config, name):
            # OpenSSL would read a pipe or a device for ever.
            _load(name, path, partial(read_file, path, _MOST_FILE_BYTES))
    if config.ca_file:
        _load("ca_file", config.ca_file, lambda: context.load_verify_locations(config.ca_file))
    else:
        context.load_default_certs()
    if config.cert_file:
        key = config.key_file or None
        files, unsaid = f"{config.cert_file} with key_file {key}", "no certificate with its key, as PEM"
        if key is None:
            files, unsaid = config.cert_file, f"{unsaid}; set key_file if the key is elsewhere"
        _load("cert_file", files, lambda: context.load_cert_chain(config.cert_file, key, _no_passphrase), unsaid)
    return context


def _load(name: str, files: str, load: Callable[[], object], unsaid: str = "not PEM") -> None:
    try:
        load()
    except ssl.SSLError as error:
        reason = error.reason.lower().replace("_", " ") if error.reason else unsaid
        raise ConfigError(f"[mqtt] {name} {files} cannot be used: {reason}") from error
    except (OSError, ValueError) as error:
        kind = unreadable(error, ConfigError) if isinstance(error, OSError) else ConfigError
        raise kind(f"[mqtt] {name} {files} cannot be read: {_why(error)}") from error


def _no_passphrase() -> str:
    # Else OpenSSL asks on the terminal, which a service does not have.
    raise ConfigError("[mqtt] the key is encrypted; affectd needs one without a passphrase")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class _Socket(ssl.SSLSocket):
    """A socket whose handshake has a timeout, and which is closed if that fails.

    With TLS 1.3 the broker checks the certificate of the client after the handshake; paho 2 hides the error that
    follows, so it is kept in `failure`.
    """

    failure: ssl.SSLError | None = None

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(_HANDSHAKE_SECONDS)  # paho 1.6 waits for the whole keepalive
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            raise
