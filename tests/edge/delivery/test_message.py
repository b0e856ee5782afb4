"""A signed message: openssl and cryptography agree on it, and one changed byte is refused."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from affectd.delivery.message import Message, RefusedError, parse, signed
from affectd.delivery.trust import is_signed, read_keys
from affectd.errors import ConfigError, UnavailableError
from affectd.recognition.model_file import write_model
from affectd_train.cli import main
from fleet import FLEET, Signer, openssl
from tiny_model import tiny_model

MESSAGE = Message(FLEET, 7, 248213, "9c" * 32, "https://files.example/mine.tflite")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


def test_a_message_says_what_was_signed() -> None:
    assert parse(signed(MESSAGE.text(), bytes(64))) == (MESSAGE, MESSAGE.text(), bytes(64))
    assert parse(signed(MESSAGE.text(), bytes(64)).rstrip(b"\n"))[0] == MESSAGE  # as mosquitto_pub -m sends it


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"affectd model 1", b"affectd model 2"),
        (b"sequence: 7", b"sequence: 07"),
        (b"sequence: 7", b"sequence: -7"),
        (b"bytes: 2", b"bytes:  2"),
        (b"https://", b"file:///"),
        (b"fleet: kiosks\n", b"fleet: kiosks\nfleet: kiosks\n"),
        (b"fleet: kiosks", b"fleet: ki/osks"),
        (b"\n", b"\r\n"),
        (b"signature: ", b"signature: signature: "),
        (b"signature: AAAA", b"signature: "),
        (b"url", b"\xff"),
    ],
)
def test_anything_else_is_no_message(old: bytes, new: bytes) -> None:
    payload = signed(MESSAGE.text(), bytes(64))
    assert old in payload
    with pytest.raises(RefusedError) as refused:
        parse(payload.replace(old, new))
    assert refused.value.why == "message"


def test_keys_are_made_both_or_not_at_all(tmp_path: Path) -> None:
    private, same = tmp_path / "private", str(tmp_path / "same")
    assert main(["keys", str(private), str(tmp_path / "nowhere" / "public")]) == 74
    assert not private.exists()
    assert main(["keys", same, same]) == 64
    assert not list(tmp_path.iterdir())
    assert main(["keys", str(private), str(tmp_path / "public")]) == 0


def test_a_key_that_does_not_fit_on_the_disk_is_named(tmp_path: Path) -> None:
    limited = (  # by the system, as a full disk would
        "import resource, sys; from affectd_train.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "sys.exit(main(['keys', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", limited, str(tmp_path / "private"), str(tmp_path / "public")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == f"affectd-train: {tmp_path}/private: File too large\n"
    assert done.returncode == 74
    assert not list(tmp_path.iterdir())


def test_openssl_signs_what_is_accepted(signer: Signer, tmp_path: Path) -> None:
    text, keys = MESSAGE.text(), read_keys(signer.public)
    signature = signer.sign(text)
    assert is_signed(text, signature, keys)
    both = tmp_path / "keys"
    both.write_text(Signer(tmp_path, "other").public.read_text() + signer.public.read_text())
    assert is_signed(text, signature, read_keys(both)), "the second key of the file"
    assert not is_signed(text, signature, read_keys(tmp_path / "other.pub"))
    for changed in (text[:-2] + b"x\n", text + b"\n", b""):
        assert not is_signed(changed, signature, keys)
    for wrong in (bytes(64), b"\xff" * 64, signature[:-1], signature[:-1] + bytes([signature[-1] ^ 1])):
        assert not is_signed(text, wrong, keys)


def test_affectd_train_signs_what_openssl_accepts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, private, public = tmp_path / "m.tflite", tmp_path / "a.key", tmp_path / "a.pub"
    write_model(model, tiny_model())
    assert main(["keys", str(private), str(public)]) == 0
    assert private.stat().st_mode & 0o077 == 0
    capfd.readouterr()
    arguments = ["sign", str(model), "--key", str(private), "--fleet", FLEET, "--url", "http://host/m.tflite"]
    assert main(arguments) == 0
    message, text, signature = parse(capfd.readouterr().out.encode())
    assert (message.fleet, message.n_bytes) == (FLEET, model.stat().st_size)
    (tmp_path / "text").write_bytes(text)
    (tmp_path / "signature").write_bytes(signature)
    key = ["-pubin", "-inkey", public, "-rawin", "-in", tmp_path / "text", "-sigfile", tmp_path / "signature"]
    assert b"Successfully" in openssl("pkeyutl", "-verify", *key)
    assert openssl("dgst", "-sha256", model).decode().split()[-1] == message.sha256
    assert main(["keys", str(private), str(tmp_path / "b.pub")]) == 64, "a key is never replaced"
    capfd.readouterr()
    addresses = (
        "ftp://host/m",
        "http://hóst/m",
        "http://host/\udcff",
        "http://host:99999/m",
        "http://[::1/m",
        "http:///m",
    )
    for wrong in (*(["--url", url] for url in addresses), ["--fleet", "a b"], ["--sequence", "0"]):
        assert main([*arguments, *wrong]) == 64, wrong
        said = capfd.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
    assert main([*arguments, "--key", str(public)]) == 78


def test_a_key_of_openssl_signs_with_affectd_train(
    signer: Signer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "m.tflite", tiny_model())
    named = ["--key", str(signer.private), "--fleet", FLEET, "--url", "http://host/m", "--sequence", "3"]
    assert main(["sign", str(tmp_path / "m.tflite"), *named]) == 0
    message, text, signature = parse(capfd.readouterr().out.encode())
    assert message.sequence == 3
    assert signature == signer.sign(text), "Ed25519 has one signature of a text"


def test_the_file_of_the_keys_is_checked(signer: Signer, tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:1024", "-out", tmp_path / "rsa.key")
    openssl("pkey", "-in", tmp_path / "rsa.key", "-pubout", "-out", tmp_path / "rsa")
    (tmp_path / "empty").write_text("")
    broken = signer.public.read_text().splitlines()
    (tmp_path / "short").write_text("\n".join([broken[0], base64.b64encode(bytes(20)).decode(), broken[2]]))
    for path, word in (
        (tmp_path / "none", "cannot be read"),
        (tmp_path / "empty", "no public key"),
        (tmp_path / "rsa", "not of Ed25519"),
        (tmp_path / "short", "not of Ed25519"),
        (signer.private, "private key"),
    ):
        with pytest.raises(ConfigError, match=word):
            read_keys(path)


def test_without_openssl_it_is_said(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match="apt install openssl"):
        is_signed(b"", bytes(64), read_keys(signer.public))


@pytest.mark.parametrize("fault", ["killed", "no library", "configuration"])
def test_an_openssl_that_does_not_work_is_not_taken_for_a_wrong_signature(
    signer: Signer, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = signer.sign(MESSAGE.text())
    if fault == "configuration":
        settings = tmp_path / "openssl.cnf"
        settings.write_text("openssl_conf = a\n[a]\nproviders = b\n[b]\nnone = c\n[c]\nactivate = 1\n")
        monkeypatch.setenv("OPENSSL_CONF", str(settings))
    else:
        broken = tmp_path / "openssl"
        broken.write_text("#!/bin/sh\n" + ("kill -9 $$" if fault == "killed" else "echo no libcrypto >&2; exit 127"))
        broken.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UnavailableError, match="openssl cannot check the signature"):
        is_signed(MESSAGE.text(), signature, read_keys(signer.public))
