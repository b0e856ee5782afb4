"""`affectd run` put together: source, pipeline, sinks, broker, signals and service manager."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from affectd.audio.microphone import Losses
from affectd.audio.source import open_source
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders
from affectd.events.event import EventMaker
from affectd.events.sinks import Detached, JsonLines, RotatingFile, Several, Sink
from affectd.events.status import Reports
from affectd.mqtt.mute import Mute
from affectd.mqtt.telemetry import Meter
from affectd.pipeline import run
from affectd.recognition.classifier import load_classifier
from affectd.service.signals import StoppableBlocks, stop_on_signals
from affectd.service.systemd import ServiceManager, reload_on_hangup, watched


def serve(read_config: Callable[[], Config], out: JsonLines, *, realtime: bool) -> None:
    """Run the service until the source ends or a signal stops it.

    `read_config` is called again on SIGHUP; `realtime` plays a file at the speed it was recorded.

    Raises
    ------
    AffectdError
        The start failed, or the source did.
    """
    with stop_on_signals() as blocks, ExitStack() as claims:
        config = read_config()
        folders = claims.enter_context(claimed_folders(config.device.id)) if config.mqtt.enabled else None
        classifier = load_classifier(config.model)
        reports = Reports(EventMaker(config.device.id, classifier.model).status)
        manager = ServiceManager()
        meter, losses, mute = Meter(), Losses(), _mute(config, folders)

        def report(state: str, reason: str) -> None:
            manager.status(f"microphone {state}: {reason}")
            reports(state, reason)

        blocks.open(
            lambda: open_source(
                config.audio.source,
                classifier.model.spec.sample_rate,
                realtime=realtime,
                config=config.audio,
                report=report,
                # A service waits for its microphone; at a terminal a missing one is an error at once.
                patient=config.audio.wait or manager.is_present,
                muted=lambda: mute is not None and mute.is_muted,
                losses=losses,
            )
        )
        with ExitStack() as stack:
            sinks: list[tuple[str, Sink]] = [("standard output", out)]
            if config.file.path:
                file = Detached(config.file.path, RotatingFile(config.file))
                sinks.append((config.file.path, stack.enter_context(file)))
            if folders is not None:
                # Imported only here: it costs memory and start time that only MQTT needs.
                from affectd.mqtt.publisher import Publisher

                labels = classifier.model.labels
                publisher = Publisher(config, labels, meter, losses, mute, folders, lambda: _patience_seconds(blocks))
                sinks.append(("the outbox", stack.enter_context(publisher)))
            sink = Several(sinks) if len(sinks) > 1 else out
            reloaded = stack.enter_context(reload_on_hangup(read_config, config, manager))
            heard = watched(reports.between(blocks, sink), manager)
            run(heard, meter.timed(classifier), sink, config, reloaded, meter.push)
    blocks.raise_failure()


def _mute(config: Config, folders: Folders | None) -> Mute | None:
    """Return the switch behind the command ``listen``; None if it is disabled."""
    return Mute(folders.state) if folders is not None and config.mqtt.listen_command else None


def _patience_seconds(blocks: StoppableBlocks) -> float:
    """Return how long to wait for the broker at the end: briefly after a signal, longer after the end of a file."""
    return 0.5 if blocks.was_stopped else 5.0
