"""`affectd run` put together: source, pipeline, sinks, broker, signals and service manager."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from affectd.audio.microphone import Losses
from affectd.audio.source import first_samples, is_live, open_source
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders
from affectd.events.detached import Descriptor, Detached
from affectd.events.event import EventMaker, Utterance
from affectd.events.sinks import JsonLines, RotatingFile, Several, Sink
from affectd.events.status import Reports
from affectd.mqtt.mute import Mute
from affectd.mqtt.telemetry import Meter
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, Network, load_classifier
from affectd.service.signals import StoppableBlocks, stop_on_signals
from affectd.service.systemd import Conditions, ServiceManager, reload_on_hangup, watched

_log = logging.getLogger(__name__)

_ENROLL_SECONDS = 60
# A reader that takes nothing for longer does not hold up the other sinks.
_SLOW_SECONDS = 5.0
# After a signal, so that the process ends within a second.
_BRIEF_SECONDS, _END_SECONDS = 0.3, 0.8


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
        network, ended, settled = _placed(config, classifier, folders, claims, blocks)
        reports = Reports(EventMaker(config.device.id, classifier.model).status)
        manager = ServiceManager()
        conditions = Conditions(manager.status)
        meter, losses, mute = Meter(), Losses(), _mute(config, folders)

        def report(state: str, reason: str) -> None:
            figure = losses.degraded.get(reason) if state == "degraded" else None
            shown = "" if figure is None else f" ({figure:g})"
            conditions.set("microphone", f"microphone {state}: {reason}{shown}")
            reports(state, reason, figure)

        def tell_refused(topics: list[str]) -> None:
            conditions.set("broker", f"the broker refuses {', '.join(topics)}" if topics else "")
            state, reason = ("alarmed", "refused") if topics else ("healthy", "heard")
            reports.part("broker", state, reason, refused=topics)

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
            sinks = _detached_sinks(config, out, stack, blocks, conditions, reports, realtime=realtime)
            printed = sinks["standard output"]
            also: list[tuple[str, Sink]] = []
            is_alone = not (config.file.path or config.mqtt.enabled)
            if folders is not None:
                # Imported only here: it costs memory and start time that only MQTT needs.
                from affectd.mqtt.publisher import Publisher

                labels = classifier.model.labels
                publisher = Publisher(
                    config,
                    labels,
                    meter,
                    losses,
                    mute,
                    folders,
                    lambda: _patience_seconds(blocks),
                    lambda: {name.replace(" ", "_"): sink.n_dropped for name, sink in sinks.items()},
                    tell_refused,
                    settled,
                )
                also.append(("the outbox", stack.enter_context(publisher)))
            sink = printed if is_alone else Several([*sinks.items(), *also])
            reloaded = stack.enter_context(reload_on_hangup(read_config, config, manager))
            heard = watched(reports.between(printed.between(blocks) if is_alone else blocks, sink), manager)
            run(heard, meter.timed(network), sink, config, reloaded, meter.push, ended)
    blocks.raise_failure()


def _detached_sinks(
    config: Config,
    out: JsonLines,
    stack: ExitStack,
    blocks: StoppableBlocks,
    conditions: Conditions,
    reports: Reports,
    *,
    realtime: bool,
) -> dict[str, Detached]:
    """Start standard output and the file, by their names in telemetry; `stack` ends them."""

    def tell(name: str, reason: str, sentence: str) -> None:
        conditions.set(name, sentence)
        state = "alarmed" if sentence else "healthy"
        # When it is made the first time, its sink has dropped something, and so is there.
        reports.part(name.replace(" ", "_"), state, reason, events_dropped=started[name].n_dropped)

    sinks: dict[str, Sink] = {"standard output": Descriptor(out.stream.fileno())}
    if config.file.path:
        sinks["file"] = RotatingFile(config.file)
    started: dict[str, Detached] = {}
    for name, sink in sinks.items():
        started[name] = stack.enter_context(
            Detached(
                config.file.path if name == "file" else name,
                sink,
                patience_seconds=_room_seconds(config, realtime=realtime),
                # The first one ends last, so that a slow reader is waited for when the other sinks have ended.
                end_seconds=2.0 if name == "file" else math.inf,
                is_alone=not (config.file.path or config.mqtt.enabled),
                stopped_at=lambda: blocks.stopped_at,
                report=partial(tell, name),
            )
        )
    return started


def _placed(
    config: Config, classifier: Classifier, folders: Folders | None, claims: ExitStack, blocks: StoppableBlocks
) -> tuple[Network, Callable[[Utterance], None], Callable[[], float] | None]:
    """Return the network, what learns from each utterance, and what says how settled it is; `claims` saves it."""
    if classifier.model.head is None:
        return classifier, lambda utterance: None, None
    # Imported only here: a model without a head must not cost memory for it.
    from affectd.recognition.place import open_place

    place = open_place(config, classifier, folders, claims, live=is_live(config.audio.source))
    claims.callback(lambda: place.close(_patience_seconds(blocks)))
    return place.network, place.ended, place.settled


def _mute(config: Config, folders: Folders | None) -> Mute | None:
    """Return the switch behind the command ``listen``; None if it is disabled."""
    return Mute(folders.state) if folders is not None and config.mqtt.listen_command else None


def _patience_seconds(blocks: StoppableBlocks) -> float:
    """Return how long to wait for the broker, and for the disk: briefly after a signal, longer after a file."""
    if not blocks.was_stopped:
        return 5.0
    return min(_BRIEF_SECONDS, max(0.05, blocks.stopped_at + _END_SECONDS - time.monotonic()))


def _room_seconds(config: Config, *, realtime: bool) -> float:
    """Return how long to wait for a sink that has no room: not at all if the sound goes on meanwhile."""
    if realtime or is_live(config.audio.source):
        return 0.0
    # A sink that is alone has all the time of its reader, for instance a pager; else the others must not wait long.
    return _SLOW_SECONDS if config.file.path or config.mqtt.enabled else math.inf


def enroll(config: Config, classifier: Classifier) -> None:
    """Learn from a minute of live sound, or from a whole file, and save it; an interruption changes nothing.

    Raises
    ------
    AffectdError
        As `affectd.recognition.place.teach`, and if the source fails.
    """
    # Imported only here: `serve` must not cost memory for it.
    from affectd.recognition.place import teach

    def listen(network: Network, ended: Callable[[Utterance], None]) -> None:
        rate, source = classifier.model.spec.sample_rate, config.audio.source
        blocks = open_source(source, rate, config=config.audio)
        if is_live(source):
            _log.info("learning from %d s of sound: speak as usual", _ENROLL_SECONDS)
            blocks = first_samples(blocks, _ENROLL_SECONDS * rate)
        run(blocks, network, Several([]), config, ended=ended)

    teach(config, classifier, listen)
