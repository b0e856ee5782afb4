"""`affectd run` put together: source, pipeline, sinks, broker, signals and service manager."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from affectd.audio.microphone import Losses
from affectd.audio.source import first_samples, is_live, open_source
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders
from affectd.events.detached import Descriptor, Detached
from affectd.events.event import EventMaker, Utterance
from affectd.events.sinks import AsLine, JsonLines, RotatingFile, Several, Sink
from affectd.events.status import Reports
from affectd.mqtt.mute import Mute
from affectd.mqtt.telemetry import Meter
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, Network, load_classifier
from affectd.service.signals import StoppableBlocks, stop_on_signals
from affectd.service.systemd import Conditions, ServiceManager, reload_on_hangup, watched

if TYPE_CHECKING:
    from affectd.events.trace import Tracer

_log = logging.getLogger(__name__)

_ENROLL_SECONDS = 60
# A reader that takes nothing for longer does not hold up the other sinks.
_SLOW_SECONDS = 5.0
# After a signal, so that the process ends within a second.
_BRIEF_SECONDS, _END_SECONDS = 0.3, 0.8


def serve(
    read_config: Callable[[], Config],
    out: JsonLines | None,
    *,
    realtime: bool,
    began: float | None = None,
    trace: str | None = None,
    listeners: Sequence[Sink] = (),
    lines: Callable[[Sequence[str]], AsLine] | None = None,
) -> None:
    """Run the service until the source ends or a signal stops it.

    Parameters
    ----------
    read_config : callable
        Returns the settings; called again on SIGHUP.
    out : JsonLines, optional
        Where events are printed.
    realtime : bool
        Play a file at the speed it was recorded.
    began : float, optional
        When the recording began, in seconds since the epoch; its events carry the time of the sound then.
    trace : str, optional
        Where the trace goes: a file, or ``-`` for where events are printed.
    listeners : sequence of Sink
        Each takes every event and every line of the trace, in the thread of the sound, so it must return at once.
    lines : callable, optional
        Gets the labels of the model and returns what makes a line of an event for `out`; else it is a JSON object.

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
        events = EventMaker(config.device.id, classifier.model, began=began)
        reports = Reports(events.status)
        manager = ServiceManager()
        meter, losses, mute = Meter(), Losses(), _mute(config, folders)
        told = _Told(reports, Conditions(manager.status), losses)
        blocks.open(
            lambda: open_source(
                config.audio.source,
                classifier.model.spec.sample_rate,
                realtime=realtime,
                config=config.audio,
                report=told.microphone,
                # A service waits for its microphone; at a terminal a missing one is an error at once.
                patient=config.audio.wait or manager.is_present,
                muted=lambda: mute is not None and mute.is_muted,
                losses=losses,
            )
        )
        with ExitStack() as stack:
            is_alone = not (config.file.path or config.mqtt.enabled or listeners)
            start = _starter(config, stack, blocks, told, is_alone=is_alone, realtime=realtime)
            printed = None if out is None else _print(out, start, lines and lines(classifier.model.labels))
            sinks = {} if printed is None else {"standard output": printed}
            if config.file.path:
                sinks["file"] = start("file", RotatingFile(config.file))
            traced = list(listeners)
            if trace is not None:
                from affectd.events.trace import trace_file

                traced.append(printed if trace == "-" and printed else start("trace", trace_file(trace, config.file)))
            also: list[tuple[str, Sink]] = [("a listener", listener) for listener in listeners]
            if folders is not None:
                # Imported only here: it costs memory and start time that only MQTT needs.
                from affectd.mqtt.publisher import Publisher

                publisher = Publisher(
                    config,
                    classifier.model.labels,
                    meter,
                    losses,
                    mute,
                    folders,
                    lambda: _patience_seconds(blocks),
                    lambda: {name.replace(" ", "_"): sink.n_dropped for name, sink in sinks.items()},
                    told.broker,
                    settled,
                )
                also.append(("the outbox", stack.enter_context(publisher)))
            sink = printed if printed and is_alone else Several([*sinks.items(), *also])
            reloaded = stack.enter_context(reload_on_hangup(read_config, config, manager))
            heard = watched(reports.between(printed.between(blocks) if printed and is_alone else blocks, sink), manager)
            tracer = _tracer(events, classifier, traced)
            run(heard, meter.timed(network), sink, config, reloaded, meter.push, ended, events, tracer)
    blocks.raise_failure()


def _print(out: JsonLines, start: Callable[[str, Sink], Detached], lines: AsLine | None) -> Detached:
    if lines is None:
        return start("standard output", Descriptor(out.stream.fileno()))
    printed = start("standard output", Descriptor(out.stream.fileno(), lines))
    printed.write({})
    return printed


class _Told:
    """What is said of each part: in status events, and as the status of the service."""

    def __init__(self, reports: Reports, conditions: Conditions, losses: Losses) -> None:
        self._reports, self._conditions, self._losses = reports, conditions, losses

    def microphone(self, state: str, reason: str) -> None:
        """Take a report of `affectd.audio.supervisor.Supervisor`."""
        figure = self._losses.degraded.get(reason) if state == "degraded" else None
        shown = "" if figure is None else f" ({figure:g})"
        self._conditions.set("microphone", f"microphone {state}: {reason}{shown}")
        self._reports(state, reason, figure)

    def broker(self, topics: list[str]) -> None:
        """Take the topics that the broker refuses."""
        self._conditions.set("broker", f"the broker refuses {', '.join(topics)}" if topics else "")
        state, reason = ("alarmed", "refused") if topics else ("healthy", "heard")
        self._reports.part("broker", state, reason, refused=topics)

    def sink(self, name: str, n_dropped: int, reason: str, sentence: str) -> None:
        """Take a report of `affectd.events.detached.Detached`."""
        self._conditions.set(name, sentence)
        state = "alarmed" if sentence else "healthy"
        self._reports.part(name.replace(" ", "_"), state, reason, events_dropped=n_dropped)


def _starter(
    config: Config, stack: ExitStack, blocks: StoppableBlocks, told: _Told, *, is_alone: bool, realtime: bool
) -> Callable[[str, Sink], Detached]:
    """Return what starts a sink in a thread of its own, by its name in telemetry; `stack` ends it."""

    def start(name: str, sink: Sink) -> Detached:
        is_printed = name == "standard output"
        detached = Detached(
            config.file.path if name == "file" else name,
            sink,
            patience_seconds=_room_seconds(config, is_alone=is_alone, realtime=realtime),
            # The first one ends last, so that a slow reader is waited for when the other sinks have ended.
            end_seconds=math.inf if is_printed else 2.0,
            is_alone=is_alone and is_printed,
            stopped_at=lambda: blocks.stopped_at,
            # When something is told, the sink has dropped something, and so is there.
            report=lambda reason, sentence: told.sink(name, detached.n_dropped, reason, sentence),
        )
        return stack.enter_context(detached)

    return start


def _tracer(events: EventMaker, classifier: Classifier, sinks: Sequence[Sink]) -> Tracer | None:
    """Return what makes the trace; None if it goes nowhere."""
    if not sinks:
        return None
    # Imported only here: a service that is not looked at must not cost memory for it.
    from affectd.events.trace import Tracer

    return Tracer(events, classifier.model, Several([("the trace", sink) for sink in sinks]).write)


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


def _room_seconds(config: Config, *, is_alone: bool, realtime: bool) -> float:
    """Return how long to wait for a sink that has no room: not at all if the sound goes on meanwhile."""
    if realtime or is_live(config.audio.source):
        return 0.0
    # A sink that is alone has all the time of its reader, for instance a pager; else the others must not wait long.
    return math.inf if is_alone else _SLOW_SECONDS


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
