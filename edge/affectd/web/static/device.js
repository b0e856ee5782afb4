// How the device is: the lamp, its parts, its cost, and what model it has.
import { $, MOST_LABELS, duration, facts, make, write } from "./elements.js";
import { condition, named, percent, signed, story, text } from "./story.js";
import { showLabels } from "./view.js";

/** The lamp; what is not known is said to be so, and neither lit nor out. */
export function showLamp(words) {
  write($("lamp"), words);
  $("lamp").classList.toggle("listening", words === "listening");
}

export function showState() {
  const { state } = story,
    told = state.telemetry ?? {};
  write($("device"), text(state.device, 60));
  document.title = `${text(state.device, 60)} · affectd`;
  const muted = state.microphone?.state === "muted" || told.muted;
  showLamp(state.listening ? "listening" : muted ? "muted" : "no sound");
  showLabels((state.labels ?? []).slice(0, MOST_LABELS));
  $("parts").replaceChildren(
    ...parts(state, told).map(([good, name, words]) =>
      make(
        "li",
        good ? "" : "bad",
        make("b", "", good ? "✓" : "!"),
        make("div", "", make("strong", "", name), make("span", "", text(words, 300))),
      ),
    ),
  );
  facts($("facts"), [
    ["Processor", Number.isFinite(told.cpu_percent) && `${signed(told.cpu_percent, 1)} % of a core`],
    ["Memory", Number.isFinite(told.resident_mb) && `${signed(told.resident_mb, 1)} MB`],
    ["Temperature", Number.isFinite(told.temperature_celsius) && `${signed(told.temperature_celsius, 1)} °C`],
    [
      "Inference",
      Number.isFinite(told.inference_ms?.median) &&
        `${signed(told.inference_ms.median, 1)} ms, ${signed(told.inference_ms.max, 1)} ms at most`,
    ],
    ["Running for", Number.isFinite(told.uptime_seconds) && duration(told.uptime_seconds)],
    ["affectd", state.version],
    ["Network", state.model],
  ]);
  facts($("card"), card(state));
}

/** Whether a part is well, its name, and what there is to say. */
function parts({ microphone, broker, baseline }, told) {
  const dropped = Object.entries(told.events_dropped ?? {}).filter(([, n]) => n > 0);
  const lost = [
    told.dropped_seconds > 0 && `${signed(told.dropped_seconds, 1)} s of sound, the board was too slow`,
    told.overflows > 0 && `${told.overflows} overflows of the sound card`,
    told.outbox_dropped > 0 && `${told.outbox_dropped} events that the outbox had no room for`,
    ...dropped.map(([name, n]) => `${n} events for ${text(name, 30).replaceAll("_", " ")}`),
  ].filter(Boolean);
  const state = microphone?.state ?? null,
    settled = baseline?.settled;
  const shown = [
    [
      [null, "healthy", "muted"].includes(state),
      "Microphone",
      state === null ? "nothing to report" : condition(microphone),
    ],
  ];
  if (broker) {
    const waiting = broker.outbox > 0 ? `; ${broker.outbox} events wait` : "",
      refused = (broker.refused ?? []).slice(0, 20);
    shown.push([
      broker.connected && !refused.length,
      "Broker",
      (broker.connected ? "connected" : "not connected") +
        waiting +
        (refused.length ? `; it refuses ${refused.map((topic) => text(topic, 60)).join(", ")}` : ""),
    ]);
  } else shown.push([true, "Broker", "not used"]);
  shown.push([!lost.length, "Losses", lost.length ? lost.join("; ") : "none since the start"]);
  shown.push([
    true,
    "Baseline of this place",
    Number.isFinite(settled) ? `${percent(settled)} settled` : "this model has none",
  ]);
  return shown;
}

/** What people ask of a model: what for, how right it is about people it does not know, from whom it has learned. */
function card({ labels, card: about }) {
  const {
    name,
    use,
    data,
    elsewhere,
    elsewhere_settled: known,
    accuracy,
    accuracy_interval: range,
    protocol,
    ...others
  } = about ?? {};
  const within = Array.isArray(range) ? `, 95 % interval ${range.slice(0, 2).map(percent).join(" to ")}` : "";
  const corpora = Array.isArray(data) ? data : [];
  return [
    ["Model", name],
    ["Use", use],
    [
      "Names",
      (labels ?? [])
        .slice(0, MOST_LABELS)
        .map((label) => named(label))
        .join(", "),
    ],
    [
      "Right elsewhere",
      Number.isFinite(elsewhere) &&
        Number.isFinite(known) &&
        `${percent(elsewhere)} in corpora of which it heard nothing, ${percent(known)} after a minute of a voice; by chance ${percent(1 / labels.length)}`,
    ],
    [
      "Right about strangers",
      Number.isFinite(accuracy) &&
        `${percent(accuracy)} of recordings of actors${within}; by chance ${percent(1 / labels.length)}`,
    ],
    ["Tested on", protocol],
    [
      "Trained on",
      corpora.map(
        ({ corpus, clips, terms }) => `${text(corpus, 60)}, ${text(clips, 10)} recordings, ${text(terms, 80)}`,
      ),
    ],
    ...Object.entries(others)
      .slice(0, 20)
      .map(([key, value]) => [
        key.replaceAll("_", " "),
        typeof value === "object" && value ? JSON.stringify(value) : value,
      ]),
  ];
}
