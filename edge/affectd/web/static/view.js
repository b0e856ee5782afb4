// What the page shows, of what it knows (story.js).
import {
  PLACES, UNCERTAIN, best, clock, color, condition, percent, signed, story, sums, text,
} from "./story.js";

// What is shown of a stride while the microphone is closed or away.
const NOTHING = { gate_open: false, smoothed: null, probabilities: null, valence: null, arousal: null };
const $ = (id) => document.getElementById(id);
const MOST_LABELS = 40;

/** An element with a class, holding texts and elements. */
function make(name, kind, ...inside) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

/** Write only what has changed: a screen reader repeats a status that is written again. */
function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function swatch(label) {
  const mark = make("i", label === UNCERTAIN ? "swatch doubt" : "swatch");
  if (label !== UNCERTAIN && label !== null) mark.style.setProperty("--color", color(label));
  return mark;
}

/** A list of names and values, some of several lines; what is not known is left out. */
function facts(list, pairs) {
  const known = pairs.map(([name, value]) => [name, [value].flat().filter((one) => one !== null && one !== undefined && one !== false && one !== "")]);
  list.replaceChildren(...known.filter(([, values]) => values.length).map(([name, values]) =>
    make("div", "", make("dt", "", text(name)), ...values.slice(0, 20).map((value) => make("dd", "", text(value, 300))))));
}

let rows = new Map();

/** The table of the labels; its bars move with `showTrace`. */
function showLabels(labels) {
  if ([...rows.keys()].join() === labels.join()) return;
  rows = new Map(labels.map((label) => {
    const fill = make("span"), mark = make("i"), smoothed = make("td", "", "–"), raw = make("td", "", "–");
    fill.style.setProperty("--color", color(label));
    mark.hidden = true;
    const head = make("th", "", text(label, 30));
    head.scope = "row";
    const row = make("tr", "", head, make("td", "bar", make("div", "track", fill, mark)), smoothed, raw);
    return [label, { row, fill, mark, smoothed, raw }];
  }));
  $("bars").replaceChildren(...[...rows.values()].map(({ row }) => row));
  const svg = "http://www.w3.org/2000/svg";
  $("places").replaceChildren(...labels.filter((label) => Object.hasOwn(PLACES, label)).flatMap((label) => {
    const [valence, arousal] = PLACES[label], spot = document.createElementNS(svg, "circle"), name = document.createElementNS(svg, "text");
    for (const [key, value] of [["cx", 100 * valence], ["cy", -100 * arousal], ["r", 2.5], ["fill", color(label)]]) spot.setAttribute(key, value);
    // Beside its spot, towards where there is room.
    const isLeft = valence < -0.55 || valence > 0.75;
    for (const [key, value] of [["x", 100 * valence + (isLeft ? -5 : 5)], ["y", 3 - 100 * arousal], ["text-anchor", isLeft ? "end" : "start"]]) name.setAttribute(key, value);
    name.textContent = label;
    return [spot, name];
  }));
}

/** The headline: what is heard now, or why nothing is named. */
function headline(trace) {
  const { state } = story;
  if (state && !state.listening) return silence(state);
  if (!trace) return ["–", "Waiting for sound.", null];
  if (!trace.gate_open || trace.reason === "gate_shut") return ["no speech", "It listens; the voice gate opens when there is speech.", null];
  if (trace.label === UNCERTAIN || trace.reason === "below_threshold") {
    const guess = best(trace.smoothed);
    return [UNCERTAIN, guess ? `Best guess: ${text(guess[0], 30)}, ${percent(guess[1])}. Too little to name it.` : "", UNCERTAIN];
  }
  if (trace.label === null || trace.label === undefined) return ["speech …", "Too short yet to tell how it sounds.", null];
  return [text(trace.label, 30), `With a probability of ${percent(trace.probability)}.`, trace.label];
}

function silence({ microphone, telemetry }) {
  if (microphone?.state === "muted" || telemetry?.muted) return ["muted", "The microphone is closed by a command.", null];
  return ["no sound", microphone?.state ? `The microphone ${condition(microphone)}.` : "There is no microphone.", null];
}

export function showTrace() {
  const trace = story.state?.listening === false ? NOTHING : story.trace;
  const [name, why, label] = headline(trace), head = $("label");
  write(head, name);
  write($("why"), why);
  head.classList.toggle("doubt", label === null || label === UNCERTAIN);
  if (label && label !== UNCERTAIN) head.style.setProperty("--color", color(label));
  else head.style.removeProperty("--color");
  if (!trace) return;
  showLevel(trace.level_dbfs, trace.gate_open);
  const guess = best(trace.smoothed)?.[0];
  $("bars").classList.toggle("doubt", label === UNCERTAIN || label === null);
  for (const [name, { row, fill, mark, smoothed, raw }] of rows) {
    const mean = trace.smoothed?.[name], moment = trace.probabilities?.[name];
    fill.style.width = `${100 * (mean ?? 0)}%`;
    mark.hidden = !(moment > 0.005);
    if (!mark.hidden) mark.style.left = `${100 * moment}%`;
    write(smoothed, percent(mean));
    write(raw, percent(moment));
    row.classList.toggle("best", name === guess);
  }
  showPlace(trace);
}

function showLevel(level, open) {
  const meter = $("meter"), shown = Math.round(Math.min(0, Math.max(-90, level ?? -90)));
  meter.classList.toggle("open", open);
  meter.setAttribute("aria-valuenow", shown);
  const words = level === null ? "silence" : Number.isFinite(level) ? `${signed(level, 0)} dBFS` : "–";
  meter.setAttribute("aria-valuetext", words);
  meter.firstElementChild.style.transform = `scaleX(${1 + shown / 90})`;
  write($("dbfs"), words);
  write($("gate"), open ? "gate open" : "gate shut");
  $("gate").classList.toggle("open", open);
}

function showPlace({ valence, arousal }) {
  const known = Number.isFinite(valence) && Number.isFinite(arousal), dot = $("dot");
  write($("valence"), signed(valence));
  write($("arousal"), signed(arousal));
  dot.setAttribute("visibility", known ? "visible" : "hidden");
  if (known) {
    dot.setAttribute("cx", 100 * valence);
    dot.setAttribute("cy", -100 * arousal);
  }
  // Of this utterance alone: between two of them nothing has moved.
  const open = !known ? [] : story.minute.slice(story.minute.findLastIndex((part) => !part.gate_open) + 1).filter((part) => Number.isFinite(part.valence));
  $("trail").setAttribute("points", open.map((part) => `${100 * part.valence},${-100 * part.arousal}`).join(" "));
}

export function showSums() {
  const all = sums(), whole = all.reduce((sum, [, seconds]) => sum + seconds, 0);
  $("sums").replaceChildren(...all.slice(0, MOST_LABELS).map(([label, seconds]) => {
    const head = make("th", "", swatch(label), label === null ? "too short" : text(label, 30));
    head.scope = "row";
    return make("tr", "", head, make("td", "", duration(seconds)), make("td", "", percent(whole ? seconds / whole : 0)));
  }));
}

function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min` : `${Math.floor(seconds / 86_400)} days`;
}

/** Put a new event first; the oldest leave. */
export function showEvent(event) {
  const list = $("events");
  list.prepend(event.type === "emotion" ? emotion(event) : status(event));
  while (list.children.length > 100) list.lastElementChild.remove();
  $("none").hidden = true;
  if (event.phase === "end") write($("last"), `The last utterance: ${text(event.label, 30)}${event.label === UNCERTAIN ? "" : ` ${percent(event.probability)}`}, ${clock(event.time)}`);
}

function when(event) {
  const time = make("time", "", clock(event.time));
  time.dateTime = text(event.time);
  return time;
}

function emotion(event) {
  const all = Object.entries(event.probabilities ?? {}).slice(0, MOST_LABELS);
  const stack = make("span", "stack", ...all.map(([label, p]) => {
    const part = make("span");
    part.style.setProperty("--color", color(label));
    part.style.flexGrow = p;
    return part;
  }));
  stack.setAttribute("aria-hidden", "true");
  // The probability of an uncertain event is that of its best guess.
  const guess = event.label === UNCERTAIN ? best(event.probabilities) : null;
  const name = make("strong", "", text(event.label, 30), guess ? "" : ` ${percent(event.probability)}`);
  const named = make("span", "", swatch(event.label), name, guess ? make("em", "", ` ${text(guess[0], 30)} ${percent(guess[1])}?`) : "");
  const details = make("details", "", make("summary", "line", when(event), named, make("em", "", text(event.phase, 20)), stack));
  // Filled when it is opened: a hundred tables would cost more than all the rest of the page.
  details.addEventListener("toggle", () => {
    if (details.children.length > 1) return;
    const table = make("table", "", make("caption", "unseen", "Probabilities of this event"), make("tbody", "", ...all.sort((a, b) => b[1] - a[1]).map(([label, p]) => {
      const head = make("th", "", swatch(label), text(label, 30));
      head.scope = "row";
      return make("tr", "", head, make("td", "", `${signed(100 * p, 1)} %`));
    })));
    const more = `valence ${signed(event.valence)}, arousal ${signed(event.arousal)}, ` +
      `${event.level_dbfs === null ? "silence" : `${signed(event.level_dbfs, 1)} dBFS`}, ` +
      `${signed(event.start_seconds, 1)} to ${signed(event.end_seconds, 1)} s, ${percent(event.speech_ratio)} speech`;
    details.append(make("div", "inside", table, make("p", "quiet", more)));
  });
  return make("li", "", details);
}

function status(event) {
  const part = text(event.part ?? "microphone", 30).replaceAll("_", " ");
  const more = event.refused?.length ? `: ${event.refused.map((topic) => text(topic, 60)).join(", ")}` : "";
  const told = make("span", ["healthy", "muted"].includes(event.state) ? "told" : "told alarm", text(`${part} ${condition(event)}${more}`, 300));
  return make("li", "", make("div", "line", when(event), told));
}

/** The lamp; what is not known is said to be so, and neither lit nor out. */
export function showLamp(words) {
  write($("lamp"), words);
  $("lamp").classList.toggle("listening", words === "listening");
}

export function showState() {
  const { state } = story, told = state.telemetry ?? {};
  write($("device"), text(state.device, 60));
  document.title = `${text(state.device, 60)} · affectd`;
  const muted = state.microphone?.state === "muted" || told.muted;
  showLamp(state.listening ? "listening" : muted ? "muted" : "no sound");
  showLabels((state.labels ?? []).slice(0, MOST_LABELS));
  $("parts").replaceChildren(...parts(state, told).map(([good, name, words]) =>
    make("li", good ? "" : "bad", make("b", "", good ? "✓" : "!"), make("div", "", make("strong", "", name), make("span", "", text(words, 300))))));
  facts($("facts"), [
    ["Processor", Number.isFinite(told.cpu_percent) && `${signed(told.cpu_percent, 1)} % of a core`],
    ["Memory", Number.isFinite(told.resident_mb) && `${signed(told.resident_mb, 1)} MB`],
    ["Temperature", Number.isFinite(told.temperature_celsius) && `${signed(told.temperature_celsius, 1)} °C`],
    ["Inference", Number.isFinite(told.inference_ms?.median) && `${signed(told.inference_ms.median, 1)} ms, ${signed(told.inference_ms.max, 1)} ms at most`],
    ["Running for", Number.isFinite(told.uptime_seconds) && duration(told.uptime_seconds)],
    ["affectd", state.version], ["Network", state.model],
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
  const state = microphone?.state ?? null, settled = baseline?.settled;
  const shown = [[[null, "healthy", "muted"].includes(state), "Microphone", state === null ? "nothing to report" : condition(microphone)]];
  if (broker) {
    const waiting = broker.outbox > 0 ? `; ${broker.outbox} events wait` : "", refused = (broker.refused ?? []).slice(0, 20);
    shown.push([broker.connected && !refused.length, "Broker", (broker.connected ? "connected" : "not connected") + waiting +
      (refused.length ? `; it refuses ${refused.map((topic) => text(topic, 60)).join(", ")}` : "")]);
  } else shown.push([true, "Broker", "not used"]);
  shown.push([!lost.length, "Losses", lost.length ? lost.join("; ") : "none since the start"]);
  shown.push([true, "Baseline of this place", Number.isFinite(settled) ? `${percent(settled)} settled` : "this model has none"]);
  return shown;
}

/** What people ask of a model: how right it is about people it does not know, from whom it has learned, for what use. */
function card({ labels, card: about }) {
  const { name, use, data, accuracy, accuracy_interval: range, protocol, ...others } = about ?? {};
  const within = Array.isArray(range) ? `, 95 % interval ${range.slice(0, 2).map(percent).join(" to ")}` : "";
  const corpora = Array.isArray(data) ? data : [];
  return [
    ["Model", name], ["Use", use],
    ["Names", (labels ?? []).slice(0, MOST_LABELS).map((label) => text(label, 30)).join(", ")],
    ["Right about strangers", Number.isFinite(accuracy) && `${percent(accuracy)} of recordings of actors${within}; by chance ${percent(1 / labels.length)}`],
    ["Tested on", protocol],
    ["Trained on", corpora.map(({ corpus, clips, terms }) => `${text(corpus, 60)}, ${text(clips, 10)} recordings, ${text(terms, 80)}`)],
    ...Object.entries(others).slice(0, 20).map(([key, value]) => [key.replaceAll("_", " "), typeof value === "object" && value ? JSON.stringify(value) : value]),
  ];
}
