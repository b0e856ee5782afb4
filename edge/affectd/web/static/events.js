// The list of the last events, the newest first.
import { $, MOST_LABELS, make, swatch, write } from "./elements.js";
import { MOST_EVENTS, UNCERTAIN, best, clock, color, condition, named, percent, signed, text } from "./story.js";

/** Put a new event first; the oldest leave. */
export function showEvent(event) {
  const list = $("events");
  list.prepend(event.type === "emotion" ? emotion(event) : status(event));
  while (list.children.length > MOST_EVENTS) list.lastElementChild.remove();
  // The newest alone is a stop of the Tab key: a hundred would stand before all that follows the list.
  for (const [n, line] of list.querySelectorAll("summary").entries()) line.tabIndex = n ? -1 : 0;
  $("none").hidden = true;
  if (event.phase !== "end") return;
  const guess = event.label === UNCERTAIN && best(event.probabilities);
  const told = guess ? ` (best guess ${named(guess[0])} ${percent(guess[1])})` : ` ${percent(event.probability)}`;
  write($("last"), `The last utterance: ${named(event.label)}${told}, ${clock(event.time)}`);
}

$("events").addEventListener("keydown", (key) => {
  const lines = [...$("events").querySelectorAll("summary")];
  const at = lines.indexOf(document.activeElement);
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: lines.length - 1 }[key.key];
  if (at < 0 || !lines[to] || key.altKey || key.ctrlKey || key.metaKey) return;
  key.preventDefault();
  lines[to].focus();
});

function when(event) {
  const time = make("time", "", clock(event.time));
  time.dateTime = text(event.time);
  return time;
}

function emotion(event) {
  const all = Object.entries(event.probabilities ?? {}).slice(0, MOST_LABELS);
  const stack = make(
    "span",
    "stack",
    ...all.map(([label, p]) => {
      const part = make("span");
      part.style.setProperty("--color", color(label));
      part.style.flexGrow = p;
      return part;
    }),
  );
  stack.setAttribute("aria-hidden", "true");
  // The probability of an uncertain event is that of its best guess.
  const guess = event.label === UNCERTAIN ? best(event.probabilities) : null;
  const name = make("strong", "", named(event.label), guess ? "" : ` ${percent(event.probability)}`);
  const told = make(
    "span",
    "",
    swatch(event.label),
    name,
    guess ? make("em", "", ` best guess ${named(guess[0])} ${percent(guess[1])}`) : "",
  );
  const details = make(
    "details",
    "",
    make("summary", "line", when(event), told, make("em", "", text(event.phase, 20)), stack),
  );
  // Filled when it is opened: a hundred tables would cost more than all the rest of the page.
  details.addEventListener("toggle", () => {
    if (details.children.length > 1) return;
    const table = make(
      "table",
      "",
      make("caption", "unseen", "Probabilities of this event"),
      make(
        "tbody",
        "",
        ...all
          .sort((a, b) => b[1] - a[1])
          .map(([label, p]) => {
            const head = make("th", "", swatch(label), named(label));
            head.scope = "row";
            return make("tr", "", head, make("td", "", `${signed(100 * p, 1)} %`));
          }),
      ),
    );
    const more =
      (Number.isFinite(event.valence) ? `valence ${signed(event.valence)}, arousal ${signed(event.arousal)}, ` : "") +
      `${event.level_dbfs === null ? "silence" : `${signed(event.level_dbfs, 1)} dBFS`}, ` +
      `${signed(event.start_seconds, 1)} to ${signed(event.end_seconds, 1)} s, ${percent(event.speech_ratio)} speech`;
    details.append(make("div", "inside", table, make("p", "quiet", more)));
  });
  return make("li", "", details);
}

function status(event) {
  const part = text(event.part ?? "microphone", 30).replaceAll("_", " ");
  const more = event.refused?.length ? `: ${event.refused.map((topic) => text(topic, 60)).join(", ")}` : "";
  const told = make(
    "span",
    ["healthy", "muted"].includes(event.state) ? "told" : "told alarm",
    text(`${part} ${condition(event)}${more}`, 300),
  );
  return make("li", "", make("div", "line", when(event), told));
}
