// What is heard now, and the sums of the last hour.
import { $, MOST_LABELS, duration, make, swatch, write } from "./elements.js";
import { PLACES, UNCERTAIN, best, color, condition, isOwn, named, percent, signed, story, sums } from "./story.js";

// What is shown of a stride while the microphone is closed or away.
const NOTHING = { gate_open: false, smoothed: null, probabilities: null, valence: null, arousal: null };

let rows = new Map();

/** The table of the labels; its bars move with `showTrace`. */
export function showLabels(labels) {
  if ([...rows.keys()].join() === labels.join()) return;
  rows = new Map(
    labels.map((label) => {
      const fill = make("span"),
        mark = make("i"),
        smoothed = make("td", "", "–"),
        raw = make("td", "", "–");
      fill.style.setProperty("--color", color(label));
      mark.hidden = true;
      const head = make("th", "", named(label));
      head.scope = "row";
      const row = make("tr", "", head, make("td", "bar", make("div", "track", fill, mark)), smoothed, raw);
      return [label, { row, fill, mark, smoothed, raw }];
    }),
  );
  document.body.classList.toggle("own", isOwn(labels));
  $("bars").replaceChildren(...[...rows.values()].map(({ row }) => row));
  const svg = "http://www.w3.org/2000/svg";
  $("places").replaceChildren(
    ...labels
      .filter((label) => Object.hasOwn(PLACES, label))
      .flatMap((label) => {
        const [valence, arousal] = PLACES[label],
          spot = document.createElementNS(svg, "circle"),
          name = document.createElementNS(svg, "text");
        for (const [key, value] of [
          ["cx", 100 * valence],
          ["cy", -100 * arousal],
          ["r", 2.5],
          ["fill", color(label)],
        ])
          spot.setAttribute(key, value);
        // Beside its spot, towards where there is room.
        const isLeft = valence < -0.55 || valence > 0.75;
        for (const [key, value] of [
          ["x", 100 * valence + (isLeft ? -5 : 5)],
          ["y", 3 - 100 * arousal],
          ["text-anchor", isLeft ? "end" : "start"],
        ])
          name.setAttribute(key, value);
        name.textContent = label;
        return [spot, name];
      }),
  );
}

/** The headline: what is heard now, or why nothing is named. */
function headline(trace) {
  const { state } = story;
  if (state && !state.listening) return silence(state);
  if (!trace) return ["–", "Waiting for sound.", null];
  if (!trace.gate_open || trace.reason === "gate_shut")
    return ["no speech", "It listens; the voice gate opens when there is speech.", null];
  if (trace.label === UNCERTAIN || trace.reason === "below_threshold") {
    const guess = best(trace.smoothed);
    return [
      UNCERTAIN,
      guess ? `Best guess: ${named(guess[0])}, ${percent(guess[1])}. Too little to name it.` : "",
      UNCERTAIN,
    ];
  }
  if (trace.label === null || trace.label === undefined)
    return ["speech …", "Too short yet to tell how it sounds.", null];
  return [named(trace.label), `With a probability of ${percent(trace.probability)}.`, trace.label];
}

function silence({ microphone, telemetry }) {
  if (microphone?.state === "muted" || telemetry?.muted)
    return ["muted", "The microphone is closed by a command.", null];
  return ["no sound", microphone?.state ? `The microphone ${condition(microphone)}.` : "There is no microphone.", null];
}

export function showTrace() {
  const trace = story.state?.listening === false ? NOTHING : story.trace;
  const [name, why, label] = headline(trace),
    head = $("label");
  write(head, name);
  write($("why"), why);
  head.classList.toggle("long", name.length > 20);
  head.classList.toggle("doubt", label === null || label === UNCERTAIN);
  if (label && label !== UNCERTAIN) head.style.setProperty("--color", color(label));
  else head.style.removeProperty("--color");
  if (!trace) return;
  showLevel(trace.level_dbfs, trace.gate_open);
  const guess = best(trace.smoothed)?.[0];
  $("bars").classList.toggle("doubt", label === UNCERTAIN || label === null);
  for (const [name, { row, fill, mark, smoothed, raw }] of rows) {
    const mean = trace.smoothed?.[name],
      moment = trace.probabilities?.[name];
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
  const meter = $("meter"),
    shown = Math.round(Math.min(0, Math.max(-90, level ?? -90)));
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
  const known = Number.isFinite(valence) && Number.isFinite(arousal),
    dot = $("dot");
  write($("valence"), signed(valence));
  write($("arousal"), signed(arousal));
  dot.setAttribute("visibility", known ? "visible" : "hidden");
  if (known) {
    dot.setAttribute("cx", 100 * valence);
    dot.setAttribute("cy", -100 * arousal);
  }
  // Of this utterance alone: between two of them nothing has moved.
  const open = !known
    ? []
    : story.minute
        .slice(story.minute.findLastIndex((part) => !part.gate_open) + 1)
        .filter((part) => Number.isFinite(part.valence));
  $("trail").setAttribute("points", open.map((part) => `${100 * part.valence},${-100 * part.arousal}`).join(" "));
}

export function showSums() {
  const all = sums(),
    whole = all.reduce((sum, [, seconds]) => sum + seconds, 0);
  $("sums").replaceChildren(
    ...all.slice(0, MOST_LABELS).map(([label, seconds]) => {
      const head = make("th", "", swatch(label), label === null ? "too short" : named(label));
      head.scope = "row";
      return make(
        "tr",
        "",
        head,
        make("td", "", duration(seconds)),
        make("td", "", percent(whole ? seconds / whole : 0)),
      );
    }),
  );
}
