"""`affectd run` put together: source, gate, network, smoothing, sinks; `serve` is read from top to bottom.

===============  ==============================================  ==============================================
opened           when                                            what it adds
===============  ==============================================  ==============================================
signals          always                                          end the blocks, so that an utterance ends well
state folder     ``[mqtt]``; else where a place is learned       is this process's alone
fleet            ``[mqtt] fleet`` and ``trusted_keys``           the model in force, and the next one
place            the model learns one                            a baseline around the network
page             ``[web]``                                       a listener; its port is taken here, before files
                                                                 are written and the broker is told
standard output  unless a screen shows what is heard             events, and the trace of ``--trace -``
file, trace      ``[file]``, ``--trace FILE``                    events; a line a stride
broker           ``[mqtt]``                                      events, state, telemetry, the command ``listen``
page, again      ``[web]``                                       answers, for now all it tells of is there
source           when the pipeline asks for the first block      sound
===============  ==============================================  ==============================================

What is opened last is closed first: the source stops only after the sinks, because what it opened may hang; the broker
gets what is left before standard output is waited for; the place is saved when no utterance can come any more, in a
folder that is still locked. Optional parts are imported where they are opened: they must not cost memory else.
"""

from __future__ import annotations

import logging
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
from affectd.events.event import EventMaker
from affectd.events.sinks import JsonLines, RotatingFile, Sink, joined
from affectd.events.status import Reports
from affectd.mqtt.mute import Mute
from affectd.mqtt.telemetry import Telemetry
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, load_classifier
from affectd.recognition.model_file import ModelFile, model_id
from affectd.service.signals import StoppableBlocks, stop_on_signals
from affectd.service.systemd import Conditions, ServiceManager, reload_on_hangup, watched

if TYPE_CHECKING:
    from affectd.delivery.deliveries import Deliveries
    from affectd.events.trace import Tracer
    from affectd.mqtt.publisher import Publisher
    from affectd.recognition.baseline import Placed
    from affectd.recognition.place import Place
    from affectd.web.page import Page

_log = logging.getLogger(__name__)


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
        When the recording began, in seconds since the epoch; its events carry the time of the sound then,
        and a pipe is of another place, as a file is.
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
    with stop_on_signals() as blocks, ExitStack() as stack:
        # The network: of the settings or of the fleet, and the place that it learns.
        config = read_config()
        folders = stack.enter_context(claimed_folders(config.device.id)) if config.mqtt.enabled else None
        fleet = None if folders is None or is_guest else _deliveries(config, stack)
        config, classifier = fleet.load(read_config) if fleet else (config, load_classifier(config.model))
        model, is_now = classifier.model, is_live(config.audio.source)
        place = _place(config, classifier, folders, stack, blocks, live=is_now and not is_guest and began is None)
        network = place.network if place else classifier

        # The source: opened below, when the pipeline asks for the first block.
        events, manager, losses = EventMaker(config.device.id, model, began=began), ServiceManager(), Losses()
        told = _Told(events, manager, losses)
        mute = Mute(folders.state if folders and config.mqtt.listen_command else None)
        patient = config.audio.wait or manager.is_present  # at a terminal a missing microphone is an error at once
        source = partial(open_source, config.audio, model.spec.sample_rate, realtime=realtime, patient=patient)
        source = partial(source, report=told.microphone, muted=lambda: mute.is_muted, losses=losses)

        # The sinks: the page takes its port at once, so that a program whose port is taken does nothing else.
        telemetry = Telemetry(config.device.id, model_id(model), losses, mute, place, lambda: _dropped(sinks))
        page = _page(config, model, telemetry.branch(), manager, lambda: publisher) if config.web.enabled else None
        listeners = (*listeners, page.hub) if page else listeners
        is_alone = not (config.file.path or config.mqtt.enabled or listeners)
        outputs = Outputs(stack, told.sink, lambda: blocks.stopped_at, is_alone=is_alone, live=is_now or realtime)
        sinks = _sinks(config, model, out, outputs, manager)
        takers: list[tuple[str, Sink]] = [*sinks.items(), *[("a listener", listener) for listener in listeners]]
        if trace is not None:
            listeners = (*listeners, _traced(trace, config, sinks, outputs, manager))
        publisher = None if folders is None else _publisher(config, model, folders, telemetry, mute, told, fleet)
        if publisher:
            stack.callback(publisher.close, blocks.patience_seconds)
            if fleet:
                fleet.begin(told.model)
            publisher.start()
            takers.append(("the outbox", publisher))
        if page:
            stack.enter_context(page)
        if fleet:
            telemetry.meter.follow(fleet.heard)
            takers.append(("the fleet", fleet))

        # Sound, on its way to the pipeline, and events on theirs to the sinks. Who watches the trace, as the page does,
        # gets each stride when it is over.
        def is_quiet() -> bool:
            n_watching = len(listeners) - (page is not None and not page.hub.is_watched)
            return not n_watching and telemetry.meter.is_quiet

        blocks.open(lambda: source(quiet=is_quiet))
        alone = sinks["standard output"] if is_alone else None
        sink = alone or joined(takers)
        heard = watched(told.reports.between(alone.between(blocks) if alone else blocks, sink), manager)
        heard = page.hub.heard(heard) if page else heard
        heard = fleet.between(heard) if fleet else heard
        ended = place.ended if place else lambda utterance: None
        tracer = _tracer(events, network, listeners)
        timed, measure = telemetry.meter.timed(network), telemetry.meter.push
        run(heard, timed, sink, config, reloaded=reloaded, measure=measure, ended=ended, events=events, tracer=tracer)
        if is_swapping := fleet is not None and fleet.is_swapping:
            blocks.stopped_at = time.monotonic()  # what is left ends as soon as after a signal
    blocks.raise_failure()
    # After a signal, and before the next model, it has been said in time, and the end is in good order.
    if not (blocks.was_stopped or is_swapping):
        outputs.raise_losses(publisher.backlog.n_lost if publisher else 0)
    if not (blocks.was_stopped or is_now or events.has_heard):
        _log.warning("no speech was heard, or none that is long enough for an event")
    return not blocks.was_stopped and is_swapping


class _Told:
    """Tells in status events, and as the status of the service, how microphone, broker and sinks are."""

    def __init__(self, events: EventMaker, manager: ServiceManager, losses: Losses) -> None:
        self.reports, self._conditions, self._losses = Reports(events.status), Conditions(manager.status), losses

    def microphone(self, state: str, reason: str) -> None:
        """Take a report of `affectd.audio.supervisor.Supervisor`."""
        figure = self._losses.degraded.get(reason) if state == "degraded" else None
        shown = "" if figure is None else f" ({figure:g})"
        self._conditions.set("microphone", f"microphone {state}: {reason}{shown}")
        self.reports(state, reason, figure)

    def broker(self, topics: list[str]) -> None:
        """Take the topics that the broker refuses."""
        self._conditions.set("broker", f"the broker refuses {', '.join(topics)}" if topics else "")
        state, reason = ("alarmed", "refused") if topics else ("healthy", "heard")
        self.reports.part("broker", state, reason, refused=topics)

    def sink(self, name: str, n_dropped: int, reason: str, sentence: str) -> None:
        """Take a report of `affectd.events.detached.Detached`."""
        self._conditions.set(name, sentence)
        state = "alarmed" if sentence else "healthy"
        self.reports.part(name.replace(" ", "_"), state, reason, events_dropped=n_dropped)

    def model(self, state: str, reason: str, **about: object) -> None:
        """Take a report of `affectd.delivery.deliveries.Deliveries`."""
        self.reports.part("model", state, reason, **about)


def _page(
    config: Config,
    model: ModelFile,
    telemetry: Telemetry,
    manager: ServiceManager,
    publisher: Callable[[], Publisher | None],
) -> Page:
    """Return the page, bound to its port; it asks for `publisher` only within its ``with`` block."""
    from affectd.web.page import Page

    def facts() -> dict[str, Any]:
        broker, settled = publisher(), telemetry.settled()
        return {
            "broker": None if broker is None else broker.condition(),
            "baseline": None if settled is None else {"settled": settled},
        }

    def report() -> dict[str, Any]:
        broker = publisher()
        return telemetry() if broker is None else broker.report(telemetry)

    about = {
        "version": __version__,
        "device": config.device.id,
        "model": model_id(model),
        "labels": model.labels,
        "card": model.card,
    }
    return Page(config.web, about, facts, report, telemetry.meter.durations, manager.watchdog_seconds)


def _sinks(
    config: Config, model: ModelFile, out: JsonLines | None, outputs: Outputs, manager: ServiceManager
) -> dict[str, Detached]:
    """Start standard output and the file, where events go there; by their names in telemetry."""
    sinks = {}
    if out is not None:
        printed = Descriptor(out.stream.fileno(), out.lines(model.labels))
        sinks["standard output"] = outputs.start("standard output", printed)
    if config.file.path:
        file = RotatingFile(config.file, patient=manager.is_present)
        sinks["file"] = outputs.start("file", file, config.file.path)
    return sinks


def _dropped(sinks: Mapping[str, Detached]) -> dict[str, int]:
    return {name.replace(" ", "_"): sink.n_dropped for name, sink in sinks.items()}


def _traced(
    path: str, config: Config, sinks: Mapping[str, Detached], outputs: Outputs, manager: ServiceManager
) -> Detached:
    """Return where the trace goes."""
    if path == "-" and "standard output" in sinks:
        return sinks["standard output"]
    from affectd.events.trace import trace_file

    return outputs.start("trace", trace_file(path, config.file, patient=manager.is_present))


def _tracer(events: EventMaker, network: Classifier | Placed, sinks: Sequence[Sink]) -> Tracer | None:
    if not sinks:
        return None
    from affectd.events.trace import Tracer

    write = joined([("the trace", sink) for sink in sinks]).write
    return Tracer(events, network.model, write, lambda: network.sure)


def _place(
    config: Config,
    classifier: Classifier,
    folders: Folders | None,
    stack: ExitStack,
    blocks: StoppableBlocks,
    *,
    live: bool,
) -> Place | None:
    """Return the place that the network learns, saved when `stack` ends; None for one that learns none."""
    if classifier.model.learning_head is None:
        return None
    from affectd.recognition.place import open_place

    place = open_place(config, classifier, folders, stack, live=live)
    stack.callback(lambda: place.close(blocks.patience_seconds()))
    return place


def _publisher(
    config: Config,
    model: ModelFile,
    folders: Folders,
    telemetry: Telemetry,
    mute: Mute,
    told: _Told,
    fleet: Deliveries | None,
) -> Publisher:
    from affectd.mqtt.publisher import Publisher

    also = {} if fleet is None else fleet.subscriptions
    return Publisher(config, model, folders, telemetry, mute, told.broker, also)


def _deliveries(config: Config, stack: ExitStack) -> Deliveries | None:
    if not (config.mqtt.fleet and config.model.trusted_keys):
        return None
    from affectd.delivery.deliveries import Deliveries

    return stack.enter_context(Deliveries(config))
