"""Reasons for a missing connection, in plain words."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from affectd.config.sections import MqttConfig
from affectd.errors import AffectdError

# OpenSSL's X509_V_ERR_* (openssl/x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_CA = (2, 18, 19, 20, 21)
_OTHER_NAME = (62, 64)


def of_code(code: Any) -> int:
    """Return a reason code as a number; paho gives numbers or objects, depending on version and protocol."""
    return int(getattr(code, "value", code))


def of_refusal(code: Any, config: MqttConfig, client_id: str) -> str:
    """Describe why the broker refuses a connection: MQTT 3.1.1 table 3.1, MQTT 5 table 3-1."""
    sentences = {
        1: f"the broker does not speak MQTT {config.protocol}",
        2: f"the broker refuses the client id {client_id}",
        3: "the broker says that it is not available now",
        4: "the broker refuses the user name or the password",
        5: "the broker does not let this client in (not authorized): check [mqtt] username, client_id and the password",
        137: "the broker says that it is too busy",
        138: f"the broker has banned the client {client_id}",
    }
    number = of_code(code)
    same = {132: 1, 133: 2, 136: 3, 134: 4, 135: 5}
    return sentences.get(same.get(number, number)) or f"the broker refuses the connection: {_name(code)}"


def of_number(number: int) -> str:
    """Describe why the broker refuses a publication or a subscription: MQTT 5, tables 3-4 and 3-8."""
    names = {
        128: "no reason given",
        131: "implementation specific error",
        135: "not authorized",
        143: "topic filter invalid",
        144: "topic name invalid",
        145: "packet identifier in use",
        151: "quota exceeded",
        153: "payload format invalid",
    }
    return names.get(number, f"reason {number}")


def of_loss(code: Any, config: MqttConfig, *, answered: bool) -> str:
    """Describe why a connection ended: an error code of paho, or a reason code of MQTT 5, table 3-13."""
    number = of_code(code)
    if number in (2, 130) and not answered:
        return f"the broker does not speak MQTT {config.protocol}, or that is no broker"
    if number in (16, 141):
        return "the broker does not answer any more"
    if number == 139:
        return "the broker is shutting down"
    if number == 142:
        return "another client with the same client id has taken over; every device needs an id of its own"
    if number > 128:
        return f"the broker ended the connection: {_name(code)}"
    if answered:
        return (
            "the broker closed the connection; it stopped, another client has the same client id,"
            " or it takes nothing as long as what was sent"
        )
    question = "does that port want TLS?"
    if config.tls:
        question = "does that port want a certificate of this client?"
    if config.cert_file:
        question = f"does it refuse the certificate in {config.cert_file}?"
    return f"the broker closed the connection without an answer; {question}"


def of_error(error: Exception, config: MqttConfig) -> str:
    """Describe an exception of name lookup, connecting, TLS, or reading."""
    host = config.host
    match error:
        case AffectdError():
            return str(error)
        case ssl.SSLCertVerificationError():
            return _certificate(error, host)
        case ssl.SSLError():
            return _tls(error, config)
        case socket.gaierror():
            return f"the name {host} cannot be looked up: {error.strerror}"
        # One of decoding is of what the broker sent.
        case UnicodeError() if not isinstance(error, UnicodeDecodeError):
            return f"{host} is no name of a host"
        case ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case TimeoutError():
            return "no answer"
        case ConnectionError():
            return "the connection was broken off" + ("; does that port speak TLS?" if config.tls else "")
        case OSError():
            return (error.strerror or str(error)).lower()
    return f"what came back is not MQTT ({type(error).__name__})"


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    if error.verify_code == _EXPIRED:
        return f"the certificate of the broker has expired; the clock of this device says {today}"
    if error.verify_code == _NOT_YET_VALID:
        return f"the certificate of the broker is not valid yet; the clock of this device says {today}"
    if error.verify_code in _OTHER_NAME:
        return f"the certificate of the broker is not for {host}"
    if error.verify_code in _UNKNOWN_CA:
        return "the certificate of the broker is from an authority that is not trusted here; set [mqtt] ca_file"
    return f"the certificate of the broker is not accepted: {error.verify_message}"


def _tls(error: ssl.SSLError, config: MqttConfig) -> str:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the broker broke the TLS handshake off; does that port speak TLS?"
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "what listens there does not speak TLS"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        if not config.cert_file:
            return "the broker wants a certificate of this client; set [mqtt] cert_file"
        refusal = _words(reason.partition("ALERT_")[2])
        return f"the broker does not accept the certificate of this client, {config.cert_file} ({refusal})"
    return f"TLS failed: {_words(reason) or error.strerror or error}"


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def _name(code: Any) -> str:
    """Return paho's text for a reason code, else its number."""
    return str(code).lower() if hasattr(code, "value") else f"reason {code}"
