"""The keys that are trusted, and whether one of them signed a message.

The `openssl` of the system checks it in a process of its own: 6 MB for 10 ms, and nothing here. Its library would take
3.6 MB in this process, and the package cryptography 9 MB. The signature alone decides; there is no chain of
certificates, and no time of day, which a board without a battery clock does not know.
"""

from __future__ import annotations

import binascii
import os
import re
from pathlib import Path

from affectd.errors import ConfigError, UnavailableError, unreadable
from affectd.files import read_file

_MOST_BYTES = 65536
_BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")
# The beginning of every public key of Ed25519: RFC 8410, section 4.
_ED25519 = bytes.fromhex("302a300506032b6570032100")
_N_BYTES = len(_ED25519) + 32


def read_keys(path: str | Path) -> list[bytes]:
    """Return the public keys of Ed25519 in a file, each as DER; the file has one or more, PEM.

    Raises
    ------
    ConfigError
        The file cannot be read, or has none, or one of another kind.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        sentence = f"[model] trusted_keys: {path} cannot be read: {error.strerror}"
        raise unreadable(error, ConfigError)(sentence) from error
    if "PRIVATE KEY" in text:
        raise ConfigError(f"[model] trusted_keys: {path} has a private key, which belongs where models are signed")
    keys = []
    for block in _BLOCK.findall(text):
        try:
            key = binascii.a2b_base64(block)
        except binascii.Error:
            key = b""
        if len(key) != _N_BYTES or not key.startswith(_ED25519):
            raise ConfigError(f"[model] trusted_keys: {path} has a key that is not of Ed25519")
        keys.append(key)
    if not keys:
        raise ConfigError(f"[model] trusted_keys: {path} has no public key (-----BEGIN PUBLIC KEY-----)")
    return keys


def is_signed(text: bytes, signature: bytes, keys: list[bytes]) -> bool:
    """Return whether one of the keys made this signature of this text.

    Raises
    ------
    UnavailableError
        openssl is not installed, or too old for Ed25519.
    """
    return any(_is_signed_by(key, text, signature) for key in keys)


def _is_signed_by(key: bytes, text: bytes, signature: bytes) -> bool:
    # Only here: the service itself starts no program this way.
    import subprocess

    files = [_in_memory(content) for content in (key, text, signature)]
    try:
        key_file, text_file, signature_file = (f"/proc/self/fd/{file}" for file in files)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", key_file, "-rawin"]
        command += ["-in", text_file, "-sigfile", signature_file]
        done = subprocess.run(command, capture_output=True, pass_fds=files, timeout=60, check=False)
    except FileNotFoundError as error:
        raise UnavailableError(
            "openssl is not installed, so no signature can be checked: apt install openssl"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"openssl cannot check the signature: {error}") from error
    finally:
        for file in files:
            os.close(file)
    if done.returncode == 0:
        return True
    if b"Signature Verification Failure" in done.stdout:
        return False
    said = " ".join(done.stderr.decode("ascii", "replace").split())[:200]
    # One that is no signature at all, such as 64 zeros, is an error of another kind.
    if b"usage" in done.stderr.lower() or b"unknown option" in done.stderr.lower():
        raise UnavailableError(f"openssl 3.0 or newer is needed to check the signature ({said})")
    # Killed, without its library, or with a broken configuration, as in the middle of an upgrade.
    if done.returncode != 1 or any(words in done.stderr for words in (b"Could not open", b"initializing")):
        raise UnavailableError(f"openssl cannot check the signature: {said or f'it ended with {done.returncode}'}")
    return False


def _in_memory(content: bytes) -> int:
    """Return the descriptor of a file that is on no disk."""
    file = os.memfd_create("affectd")
    os.write(file, content)
    return file
