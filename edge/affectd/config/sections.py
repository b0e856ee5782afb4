"""The settings: one frozen dataclass per section of ``affectd.toml``, one field per key, with default and range.

`scripts/affectd.toml` and the documents are written from the sentences here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from affectd.config.fields import Section, setting
from affectd.config.machine import machine_name

# A broker ends the connection for a control character without a word (MQTT 5.0, 1.5.4), as for a line feed at the end.
_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_TOPIC = rf"[^\s+#/{_CONTROLS}]+(/[^\s+#/{_CONTROLS}]+)*"


@dataclass(frozen=True, kw_only=True)
class DeviceConfig(Section):
    """The name of this device."""

    name = "device"
    id: str = setting(None, pattern="[A-Za-z0-9_-]+", words="letters, digits, _ and -")
    """The name in every event; none: ``affectd-`` and eight digits that are different on every machine."""

    def __post_init__(self) -> None:
        if self.id is None:
            object.__setattr__(self, "id", machine_name())
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class AudioConfig(Section):
    """The source of sound."""

    name = "audio"
    source: str = setting("mic", pattern=".+", words="`mic`, `-` or the path of a WAV file", is_path=True)
    """Where sound comes from; ``-`` is WAV or raw 16-bit PCM on stdin."""
    device: str = setting(
        "",
        pattern="(usb-id:[0-9a-f]{4}:[0-9a-f]{4}(:.+)?|usb-path:.+|card:.+)?",
        words="a name that affectd devices prints (usb-id:, usb-path: or card:), or empty",
    )
    """The microphone, by a stable name; empty for the system's default."""
    channel: int | str = setting("mix", 0, 255, pattern="mix", words='"mix" or the number of a channel from 0 to 255')
    """The channel to listen to, from 0, or ``mix`` for the mean of all; of a microphone, a file and stdin."""
    stalled_seconds: float = setting(5.0, 1.0, 20.0)
    """Without samples for this long the microphone has stalled and is opened again."""
    constant_seconds: float = setting(10.0, 1.0, 86400.0)
    """With one constant value for this long, such as digital silence, the microphone is opened again."""
    retry_seconds: float = setting(2.5, 0.5, 20.0)
    """The longest time between two attempts to open the microphone again."""
    wait: bool = setting(False)
    """Whether to wait for a microphone that is absent at the start; under systemd affectd always waits."""


@dataclass(frozen=True, kw_only=True)
class GateConfig(Section):
    """When there may be speech; see `affectd.recognition.vad` for what each value does."""

    name = "gate"
    margin_db: float = setting(8.0, 1.0, 60.0)
    """How far the level of speech is above the noise floor, dB."""
    fall_db: float = setting(4.0, 0.0, 60.0)
    """How far the level of speech falls within a syllable, dB."""
    minimum_dbfs: float = setting(-96.0, -120.0, 0.0)
    """The noise floor is at least this high, dBFS; speech is ``margin_db`` above it."""
    floor_seconds: float = setting(1.0, 0.1, 30.0)
    """The noise floor is the lowest level of the last this many seconds."""
    hangover_seconds: float = setting(0.5, 0.0, 10.0)
    """How many seconds the gate stays open after the last frame of speech."""
    preroll_seconds: float = setting(0.6, 0.0, 5.0)
    """How many seconds of sound before the opening belong to the utterance."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """Which network, and how often it runs."""

    name = "model"
    path: str = setting("", is_path=True)
    """The model file; empty for the one in the package."""
    trusted_keys: str = setting("", is_path=True)
    """Public keys (Ed25519, PEM) of who may send models to the ``[mqtt] fleet``; empty to take none."""
    download_mb: float = setting(16.0, 0.01, 64.0)
    """A model file that is larger is not downloaded, MB."""
    stride_frames: int = setting(16, 1, 1000)
    """Frames between two classifications; 16 are 256 ms."""


@dataclass(frozen=True, kw_only=True)
class SmoothingConfig(Section):
    """Smoothing of classifications into events; see `affectd.recognition.smoothing`."""

    name = "smoothing"
    average_seconds: float = setting(1.0, 0.0, 60.0)
    """Probabilities are averaged over this many seconds."""
    minimum_count: int = setting(2, 1, 1000)
    """Classifications of an utterance before its first event, which also waits for speech between the last two."""
    hysteresis: float = setting(0.05, 0.0, 1.0)
    """How much more probable than the current label a new one must be."""
    patience: int = setting(1, 1, 1000)
    """For how many classifications in a row it must be more probable."""
    dwell_seconds: float = setting(1.0, 0.0, 60.0)
    """The shortest time between two changes of the label, seconds."""
    uncertain: float | None = setting(None, 0.0, 1.0)
    """Below this probability the label is ``uncertain``; none: the model file's own threshold."""


@dataclass(frozen=True, kw_only=True)
class MqttConfig(Section):
    """Events over MQTT; see `docs/mqtt.md` for the topics."""

    name = "mqtt"
    enabled: bool = setting(False)
    """Whether to publish to a broker."""
    host: str = setting(
        "localhost",
        pattern=r"[^\s/@:]+|[0-9A-Fa-f:.]+(%[\w.-]+)?",
        words="a host name or an address",
        secret=" alone: port, user name and password have settings of their own",
    )
    """The broker."""
    port: int | None = setting(None, 1, 65535)
    """The port of the broker; none: 8883 with TLS, else 1883."""
    protocol: str = setting("3.1.1", pattern=r"3\.1\.1|5", words='"3.1.1" or "5"')
    """The version of MQTT."""
    client_id: str = setting("", pattern="[A-Za-z0-9_-]*", words="letters, digits, _ and -, or empty")
    """The client id; empty for ``affectd-`` and the id of the device."""
    username: str = setting("", pattern=f"[^{_CONTROLS}]*", words="one line of text")
    """The user name at the broker; empty to log in without one."""
    password_file: str = setting("", is_path=True)
    """File with the password on its first line; empty for the systemd credential ``mqtt_password``, if there is one."""
    allow_plain_password: bool = setting(False)
    """Whether a password may go to another host without TLS."""
    tls: bool = setting(False)
    """Whether to encrypt, and to check the certificate of the broker and its name."""
    ca_file: str = setting("", is_path=True)
    """Certificate authorities to trust, PEM; empty for those of the system."""
    cert_file: str = setting("", is_path=True)
    """Certificate of this client, PEM; empty for none."""
    key_file: str = setting("", is_path=True)
    """The key of that certificate, PEM; empty if it is in the same file."""
    keepalive_seconds: int = setting(30, 5, 3600)
    """After this long without traffic the broker is asked whether it is there; after as long without an answer, to this
    or to a message, the connection is made anew."""
    retry_seconds: float = setting(60.0, 1.0, 3600.0)
    """The longest time between two attempts to connect."""
    outbox_events: int = setting(10000, 1, 1000000)
    """How many events are kept while there is no connection; beyond that the oldest are dropped."""
    outbox_mb: float = setting(16.0, 0.1, 1024.0)
    """How much space the kept events may take, MB."""
    discovery: bool = setting(True)
    """Whether to announce the device to Home Assistant."""
    discovery_prefix: str = setting("homeassistant", pattern=_TOPIC, words="a topic of one or more levels")
    """Where Home Assistant looks for devices."""
    birth_topic: str = setting("", pattern=f"({_TOPIC})?", words="a topic of one or more levels, or empty")
    """Where Home Assistant says that it has started; empty for ``status`` below ``discovery_prefix``."""
    listen_command: bool = setting(False)
    """Whether clients that may publish to the topic ``listen`` can close and open the microphone."""
    fleet: str = setting("", pattern="[A-Za-z0-9_-]{0,64}", words="at most 64 letters, digits, _ and -, or empty")
    """The fleet of this device, which is sent models on ``affectd/FLEET/model``; empty for none."""


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig(Section):
    """Telemetry over MQTT: level, cost and losses of this device."""

    name = "telemetry"
    period_seconds: float = setting(60.0, 1.0, 86400.0)
    """The time between two reports."""


@dataclass(frozen=True, kw_only=True)
class FileConfig(Section):
    """Events in a file, one JSON object per line, besides standard output."""

    name = "file"
    path: str = setting("", is_path=True)
    """The file; empty for none."""
    max_mb: float = setting(10.0, 0.001, 10000.0)
    """The file is rotated before it grows beyond this many MB."""
    keep: int = setting(3, 1, 1000)
    """How many rotated files are kept."""


@dataclass(frozen=True, kw_only=True)
class WebConfig(Section):
    """A page for browsers and tools; see `docs/page.md`."""

    name = "web"
    enabled: bool = setting(False)
    """Whether there is one."""
    bind: str = setting("127.0.0.1", pattern=r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+", words="a host name or an address")
    """The address it is at: ``127.0.0.1`` for this device alone, ``0.0.0.0`` for all networks, which needs a token."""
    port: int = setting(8765, 1, 65535)
    """The port it is at."""
    token_file: str = setting("", is_path=True)
    """File with the token on its first line; empty for the systemd credential ``web_token``, if there is one."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings."""

    device: DeviceConfig = field(default_factory=DeviceConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    file: FileConfig = field(default_factory=FileConfig)
    web: WebConfig = field(default_factory=WebConfig)


SECTIONS: dict[str, Any] = {section.name: section.default_factory for section in fields(Config)}
"""The class of each section."""
