"""Signing of model files for a fleet: a pair of keys, and the message that devices get (`affectd.delivery.message`)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from affectd.delivery.message import Message, RefusedError, signed
from affectd.errors import ConfigError, UnavailableError, UsageError
from affectd.files import read_file, sha256
from affectd.recognition.model_file import read_model

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_MOST_BYTES = 64_000_000
_MOST_KEY_BYTES = 65536


def make_keys(private: Path, public: Path) -> None:
    """Write a pair of keys of Ed25519 as PEM; neither file may be there already.

    Raises
    ------
    UnavailableError
        The package cryptography is not installed.
    UsageError
        One of the files is there.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if private == public:
        raise UsageError(f"{private}: the two keys need a file each")
    for path in (private, public):
        if path.exists():
            raise UsageError(f"{path} is there already; a key is never replaced")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    made: list[Path] = []
    try:
        for path, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
                made.append(path)
                file.write(content)
    except OSError as error:
        for one in made:  # one key without the other is of no use, and would be in the way
            one.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # that of a full disk names no file


def sign(model: Path, key: Path, fleet: str, url: str, sequence: int | None = None) -> bytes:
    """Return the message that sends a model file to a fleet.

    Parameters
    ----------
    model : Path
        The file, as it will be at `url`.
    key : Path
        The private key, PEM.
    sequence : int, optional
        Larger than that of every message before; by default the seconds since 1970.

    Raises
    ------
    ConfigError
        The key or the model file cannot be used.
    UnavailableError
        The package cryptography is not installed.
    UsageError
        The fleet, the address or the sequence is none.
    """
    read_model(model)  # no device would take one that cannot be read
    content = read_file(model, _MOST_BYTES)
    number = int(time.time()) if sequence is None else sequence
    try:
        _check_address(url)
        text = Message(fleet, number, len(content), sha256(content).hexdigest(), url).text()
    except (RefusedError, ValueError):  # also for what is no text
        raise UsageError(
            "--fleet takes at most 64 letters, digits, _ and -, --url an address of http or https without spaces, in"
            " ASCII, --sequence a number from 1 on"
        ) from None
    return signed(text, _private_key(key).sign(text))


def _check_address(url: str) -> None:
    """Raise ValueError unless a device can take an address apart, beyond what `Message` checks."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:  # asked for its port, it raises for one that cannot be
        raise ValueError(url)


def _private_key(path: Path) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(read_file(path, _MOST_KEY_BYTES), password=None)
    except OSError as error:
        raise ConfigError(f"the key {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the key {path} is not of Ed25519")
    return key


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            'signing needs the package cryptography: pip install ".[sign]" in the checkout'
        ) from error
