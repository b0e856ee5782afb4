"""Who is let in: tokens, sessions, names of this device, and settings that would let others in."""

from __future__ import annotations

import socket
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.config.sections import WebConfig
from affectd.errors import ConfigError
from affectd.web.access import Access, exposed_token, read_token
from affectd.web.request import RefusedError, Request

TOKEN = "0123456789abcdef"
HERE = socket.gethostname()


def asked(**headers: str) -> Request:
    return Request(
        "GET", "/", {"host": "localhost", **{name.replace("_", "-"): text for name, text in headers.items()}}
    )


def refused(access: Access, request: Request) -> int:
    """Return the status of the refusal, 0 for none."""
    try:
        access.check_origin(request)
        access.check(request)
    except RefusedError as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 0),
        ("LocalHost:8765", 0),
        ("localhost.:8765", 0),
        ("127.0.0.1:8765", 0),
        ("127.0.0.1:80", 0),
        ("192.168.1.20:8765", 0),
        ("[::1]:8765", 0),
        ("[fe80::1]", 0),
        (f"{HERE}:8765", 0),
        (f"{HERE.upper()}.local", 0),
        ("kiosk.lan:8765", 0),  # what it is bound to
        ("evil.example", 403),
        ("evil.example:8765", 403),
        ("localhost.evil.example", 403),
        (f"{HERE}.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 400),
        ("localhost:8765:80", 400),
        ("me@localhost", 400),
        ("localhost/evil.example", 400),
        ("[::1", 400),
        ("localhost, evil.example", 400),
    ],
)
def test_only_names_and_addresses_of_this_device_are_answered(host: str, status: int) -> None:
    assert refused(Access(None, "kiosk.lan"), Request("GET", "/", {"host": host})) == status
    assert (
        refused(Access(TOKEN, "kiosk.lan"), Request("GET", "/", {"host": host, "authorization": f"Bearer {TOKEN}"}))
        == status
    )


def test_without_a_name_there_is_no_answer() -> None:
    assert refused(Access(None, "127.0.0.1"), Request("GET", "/", {})) == 400


def test_scripts_of_other_sites_get_nothing_and_links_from_there_work() -> None:
    access = Access(None, "127.0.0.1")
    assert refused(access, asked(sec_fetch_site="cross-site", sec_fetch_mode="no-cors")) == 403
    assert refused(access, asked(sec_fetch_site="cross-site", sec_fetch_mode="cors")) == 403
    assert refused(access, asked(sec_fetch_site="cross-site", sec_fetch_mode="navigate")) == 0
    assert refused(access, asked(sec_fetch_site="same-origin", sec_fetch_mode="cors")) == 0


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_only_the_token_itself_opens(given: str) -> None:
    access = Access(TOKEN, "127.0.0.1")
    assert refused(access, asked(authorization=f"Bearer {given}")) == (0 if given.strip() == TOKEN else 401)
    assert refused(access, asked(cookie=f"affectd_session={given}")) == 401
    assert refused(access, asked(authorization=given)) == 401


@pytest.mark.parametrize(
    "header",
    [
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer{TOKEN}",
        f"Bearer {TOKEN} ",
        f"bearer {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
    ],
)
def test_the_scheme_is_bearer(header: str) -> None:
    is_right = header.lower().startswith("bearer ") and header.strip().endswith(TOKEN)
    assert refused(Access(TOKEN, "a"), asked(authorization=header)) == (0 if is_right else 401)


def test_a_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get() -> None:
    access = Access(TOKEN, "127.0.0.1")
    (header,) = access.begin_session(asked(authorization=f"Bearer {TOKEN}"))
    (cookie,) = SimpleCookie(header.removeprefix("Set-Cookie: ")).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Strict", "", "")
    assert TOKEN not in header
    assert len(cookie.value) >= 32
    assert refused(access, asked(cookie=f"theme=dark; {cookie.key}={cookie.value}")) == 0
    assert refused(access, asked(cookie=f"{cookie.key}={cookie.value}0")) == 401
    assert refused(access, asked(cookie=f"other={cookie.value}")) == 401
    assert refused(Access(TOKEN, "127.0.0.1"), asked(cookie=f"{cookie.key}={cookie.value}")) == 401, "of another start"


def test_without_the_token_there_is_no_session() -> None:
    for request in (asked(), asked(authorization="Bearer wrong"), asked(cookie="affectd_session=")):
        with pytest.raises(RefusedError) as caught:
            Access(TOKEN, "127.0.0.1").begin_session(request)
        assert caught.value.status == 401
        assert caught.value.headers == ('WWW-Authenticate: Bearer realm="affectd"',)


def test_where_no_token_is_needed_everyone_is_let_in_without_a_cookie() -> None:
    assert Access(None, "127.0.0.1").begin_session(asked()) == ()


def config(tmp_path: Path, token: bytes | None, bind: str) -> WebConfig:
    if token is None:
        return WebConfig(bind=bind)
    (tmp_path / "token").write_bytes(token)
    return WebConfig(bind=bind, token_file=str(tmp_path / "token"))


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_device_alone_needs_no_token(tmp_path: Path, bind: str) -> None:
    assert read_token(config(tmp_path, None, bind), {}) is None


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.20", "kiosk.lan", "localhost.evil.example"])
def test_others_need_one(tmp_path: Path, bind: str) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        read_token(config(tmp_path, None, bind), {})
    assert read_token(config(tmp_path, f"{TOKEN}\n".encode(), bind), {}) == TOKEN


@pytest.mark.parametrize(
    "token", [b"", b"\nsecond line", b"short", b"with a space in it", "pässwörter".encode() * 3, b"x" * 257]
)
def test_a_token_that_is_easy_to_guess_or_no_header_is_refused(tmp_path: Path, token: bytes) -> None:
    with pytest.raises(ConfigError, match="token"):
        read_token(config(tmp_path, token, "127.0.0.1"), {})


def test_a_token_that_cannot_be_read_is_not_no_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"token_file .* cannot be read: No such file"):
        read_token(WebConfig(token_file=str(tmp_path / "none")), {})


def test_the_service_is_told_that_a_credential_is_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("affectd.config.secret.read_file", refuse)  # tests may be root, who can read all
    config = WebConfig(token_file="/etc/affectd/secret")
    with pytest.raises(ConfigError, match=r"Permission denied$"):
        read_token(config, {})
    with pytest.raises(ConfigError, match=r"Permission denied; .*: move it to /etc/affectd/web_token and remove"):
        read_token(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_the_service_gets_its_token_as_a_credential(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(ConfigError, match="needs a token: put one into /etc/affectd/web_token"):
        read_token(WebConfig(bind="0.0.0.0"), environment)
    (tmp_path / "web_token").write_text("\n")  # what the unit has if there is no file
    with pytest.raises(ConfigError, match="needs a token"):
        read_token(WebConfig(bind="0.0.0.0"), environment)
    (tmp_path / "web_token").write_text(f"{TOKEN}\n")
    assert read_token(WebConfig(bind="0.0.0.0"), environment) == TOKEN
    (tmp_path / "web_token").chmod(0o644)
    assert exposed_token(WebConfig(), environment) == [str(tmp_path / "web_token")]
    (tmp_path / "web_token").chmod(0o600)
    assert exposed_token(WebConfig(), environment) == []
