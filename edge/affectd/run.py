"""`affectd run` put together: source, pipeline, sinks, broker, signals and service manager."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from affectd import __version__
from affectd.audio.microphone import Losses
from affectd.audio.source import is_live, open_source
from affectd.config.sections import Config
from affectd.config.state import Folders, claimed_folders
from affectd.events.detached import Descriptor, Detached, Outputs
from affectd.events.event import EventMaker, Utterance
from affectd.events.sinks import JsonLines, RotatingFile, Sink, joined
from affectd.events.status import Reports
from affectd.mqtt.mute import Mute
from affectd.mqtt.telemetry import Meter, Telemetry
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, Network, load_classifier
from affectd.recognition.model_file import model_id
from affectd.service.signals import StoppableBlocks, stop_on_signals
from affectd.service.systemd import Conditions, ServiceManager, reload_on_hangup, watched

if TYPE_CHECKING:
    from affectd.delivery.deliveries import Deliveries
    from affectd.events.trace import Tracer
    from affectd.mqtt.publisher import Publisher
    from affectd.web.hub import Hub

_log = logging.getLogger(__name__)

# A reader that takes nothing for longer does not hold up the other sinks.
_SLOW_SECONDS = 5.0


def serve_each_model(
    read_config: Callable[[], Config], out: JsonLines, *, realtime: bool, began: float | None, trace: str | None
) -> None:
    """Do what `serve` does, again with each model that the fleet is sent; SIGHUP of a service manager is a reload."""
    with reload_on_hangup(read_config) as reload:
        while serve(reload.read, out, realtime=realtime, began=began, trace=trace, reloaded=reload):
            pass


def serve(
    read_config: Callable[[], Config],
    out: JsonLines | None,
    *,
    realtime: bool,
    began: float | None = None,
    trace: str | None = None,
    listeners: Sequence[Sink] = (),
    is_guest: bool = False,
    reloaded: Callable[[], Config | None] = lambda: None,
) -> bool:
    """Run the service until the source ends or a signal stops it; return whether to run it again, with another model.

    Parameters
    ----------
    read_config : callable
        Returns the settings.
    out : JsonLines, optional
        Where events are printed, and in which form.
    realtime : bool
        Play a file at the speed it was recorded.
    began : float, optional
        When the recording began, in seconds since the epoch; its events carry the time of the sound then.
    trace : str, optional
        Where the trace goes: a file, or ``-`` for where events are printed.
    listeners : sequence of Sink
        Each takes every event and every line of the trace, in the thread of the sound, so it must return at once.
    is_guest : bool
        Leave the baseline of this place, which is the service's, as it is; what is learned is forgotten at the end.
    reloaded : callable
        As of `affectd.pipeline.run`.

    Raises
    ------
    AffectdError
        The start failed, or the source did.
    """
    with stop_on_signals() as blocks, ExitStack() as claims:
        config = read_config()
        folders = claims.enter_context(claimed_folders(config.device.id)) if config.mqtt.enabled else None
        deliveries = None if folders is None or is_guest else _deliveries(config)
        loaded = deliveries and claims.enter_context(deliveries).load(read_config)
        config, classifier = loaded or (config, load_classifier(config.model))
        # A pipe whose beginning is told is a recording, and a recording is of another place.
        live = is_live(config.audio.source) and not is_guest and began is None
        network, ended, settled = _placed(config, classifier, folders, claims, blocks, live=live)
        events = EventMaker(config.device.id, classifier.model, began=began)
        manager, meter, losses = ServiceManager(), Meter(), Losses()
        mute = Mute(folders.state) if folders is not None and config.mqtt.listen_command else None
        reports = Reports(events.status)
        told = _Told(reports, Conditions(manager.status), losses)
        view = _View(config, classifier, meter.branch(), losses, mute, settled, manager) if config.web.enabled else None
        listeners = (*listeners, view.page.hub) if view else listeners
        blocks.open(
            lambda: open_source(
                config.audio,
                classifier.model.spec.sample_rate,
                realtime=realtime,
                report=told.microphone,
                patient=config.audio.wait or manager.is_present,  # at a terminal a missing one is an error at once
                muted=lambda: mute is not None and mute.is_muted,
                losses=losses,
            )
        )
        with ExitStack() as stack:
            is_alone = not (config.file.path or config.mqtt.enabled or listeners)
            outputs = _outputs(
                config, stack, blocks, told, patient=manager.is_present, is_alone=is_alone, realtime=realtime
            )
            sinks = _sinks(config, classifier.model.labels, out, outputs)
            printed = sinks.get("standard output")
            also: list[tuple[str, Sink]] = [("a listener", listener) for listener in listeners]
            if trace is not None:  # the other listeners take events besides
                traced = printed if trace == "-" and printed else outputs.start("trace", _trace(trace, config, outputs))
                listeners = (*listeners, traced)
            publisher = None
            if folders is not None:
                parts = (meter, losses, mute, folders, blocks, sinks, told, settled, deliveries)
                publisher = _publisher(config, classifier, *parts)
                also.append(("the outbox", stack.enter_context(publisher)))
            alone = printed if is_alone else None
            sink = alone or joined([*sinks.items(), *also])
            heard = watched(reports.between(alone.between(blocks) if alone else blocks, sink), manager)
            heard = view.begin(stack, publisher, sinks).heard(heard) if view else heard
            tracer = _tracer(events, network, listeners)
            plain = (heard, sink, meter.push)
            fed, taken, measure = deliveries.begin(*plain, partial(reports.part, "model")) if deliveries else plain
            run(fed, meter.timed(network), taken, config, reloaded, measure, ended, events, tracer)
            if is_swapping := deliveries is not None and deliveries.is_swapping:
                blocks.stopped_at = time.monotonic()  # what is left ends as soon as after a signal
    blocks.raise_failure()
    # After a signal, and before the next model, it has been said in time, and the end is in good order.
    if not (blocks.was_stopped or is_swapping):
        outputs.raise_losses(publisher.backlog.n_lost if publisher else 0)
    if not (blocks.was_stopped or is_live(config.audio.source) or events.has_heard):
        _log.warning("no speech was heard, or none that is long enough for an event")
    return not blocks.was_stopped and is_swapping


class _Told:
    """Tells in status events, and as the status of the service, how microphone, broker and sinks are."""

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


class _View:
    """The page, with what it shows besides events and the trace; `meter` is used by it alone.

    It is bound to its port at once: if another program has that, this one ends before the broker is told that it runs.
    """

    def __init__(
        self,
        config: Config,
        classifier: Classifier,
        meter: Meter,
        losses: Losses,
        mute: Mute | None,
        settled: Callable[[], float] | None,
        manager: ServiceManager,
    ) -> None:
        # Imported only here: a service without a page must not cost memory for it.
        from affectd.web.page import Page

        model = classifier.model
        self._settled = settled
        self._publisher: Publisher | None = None
        self._make_telemetry = partial(
            Telemetry,
            config.device.id,
            meter,
            losses,
            muted=lambda: mute is not None and mute.is_muted,
            refused=lambda: self._publisher.condition()["refused"] if self._publisher else (),
            settled=settled,
            model=model_id(classifier.model),
        )
        self.page = Page(
            config.web,
            {
                "version": __version__,
                "device": config.device.id,
                "model": model_id(model),
                "labels": model.labels,
                "card": model.card,
            },
            self._facts,
            lambda: self._telemetry(),
            meter.durations,
            manager.watchdog_seconds,
        )

    def begin(self, stack: ExitStack, publisher: Publisher | None, sinks: Mapping[str, Detached]) -> Hub:
        """Open the page until `stack` ends."""
        self._publisher = publisher
        backlog = _Nothing() if publisher is None else publisher.backlog
        self._telemetry = self._make_telemetry(backlog=backlog, events_dropped=lambda: _dropped(sinks))
        stack.enter_context(self.page)
        return self.page.hub

    def _facts(self) -> dict[str, Any]:
        return {
            "broker": None if self._publisher is None else self._publisher.condition(),
            "baseline": None if self._settled is None else {"settled": round(self._settled(), 3)},
        }


def _sinks(config: Config, labels: Sequence[str], out: JsonLines | None, outputs: Outputs) -> dict[str, Detached]:
    """Start standard output and the file, where events go there; by their names in telemetry."""
    sinks = {}
    if out is not None:
        sinks["standard output"] = outputs.start("standard output", Descriptor(out.stream.fileno(), out.lines(labels)))
    if config.file.path:
        sinks["file"] = outputs.start("file", RotatingFile(config.file, patient=outputs.patient), config.file.path)
    return sinks


class _Nothing(tuple[()]):
    """The backlog without a broker."""

    n_dropped = 0


def _dropped(sinks: Mapping[str, Detached]) -> dict[str, int]:
    return {name.replace(" ", "_"): sink.n_dropped for name, sink in sinks.items()}


def _trace(path: str, config: Config, outputs: Outputs) -> Sink:
    from affectd.events.trace import trace_file

    return trace_file(path, config.file, patient=outputs.patient)


def _tracer(events: EventMaker, network: Network, sinks: Sequence[Sink]) -> Tracer | None:
    if not sinks:
        return None
    # Imported only here: a service that is not looked at must not cost memory for it.
    from affectd.events.trace import Tracer

    write = joined([("the trace", sink) for sink in sinks]).write
    return Tracer(events, network.model, write, lambda: getattr(network, "sure", None))


def _placed(
    config: Config,
    classifier: Classifier,
    folders: Folders | None,
    claims: ExitStack,
    blocks: StoppableBlocks,
    *,
    live: bool,
) -> tuple[Network, Callable[[Utterance], None], Callable[[], float] | None]:
    """Return the network, what learns from each utterance, and what says how settled it is; `claims` saves it."""
    head = classifier.model.learning_head
    if head is None:
        return classifier, lambda utterance: None, None
    # Imported only here: a model without a head must not cost memory for it.
    from affectd.recognition.place import open_place

    place = open_place(config, classifier, folders, claims, live=live and head.spec.moves)
    claims.callback(lambda: place.close(blocks.patience_seconds()))
    return place.network, place.ended, place.settled if head.spec.moves else None


def _publisher(
    config: Config,
    classifier: Classifier,
    meter: Meter,
    losses: Losses,
    mute: Mute | None,
    folders: Folders,
    blocks: StoppableBlocks,
    sinks: Mapping[str, Detached],
    told: _Told,
    settled: Callable[[], float] | None,
    fleet: Deliveries | None,
) -> Publisher:
    # Imported only here: it costs memory and start time that only MQTT needs.
    from affectd.mqtt.publisher import Publisher

    return Publisher(
        config,
        classifier.model.labels,
        meter,
        losses,
        mute,
        folders,
        blocks.patience_seconds,
        lambda: _dropped(sinks),
        told.broker,
        settled,
        model_id(classifier.model),
        fleet.subscriptions if fleet else None,
    )


def _deliveries(config: Config) -> Deliveries | None:
    if not (config.mqtt.fleet and config.model.trusted_keys):
        return None
    # Imported only here: a device that is of no fleet must not cost memory for it.
    from affectd.delivery.deliveries import Deliveries

    return Deliveries(config)


def _outputs(
    config: Config,
    stack: ExitStack,
    blocks: StoppableBlocks,
    told: _Told,
    *,
    patient: bool,
    is_alone: bool,
    realtime: bool,
) -> Outputs:
    """Return what starts the sinks, and waits for one that has no room: not at all if the sound goes on meanwhile."""
    # A sink that is alone has all the time of its reader, for instance a pager; else the others must not wait long.
    seconds = 0.0 if realtime or is_live(config.audio.source) else math.inf if is_alone else _SLOW_SECONDS
    return Outputs(stack, told.sink, lambda: blocks.stopped_at, seconds, is_alone=is_alone, patient=patient)
