// What the other files make the page of.
import { UNCERTAIN, color, text } from "./story.js";

export const $ = (id) => document.getElementById(id);
export const MOST_LABELS = 40;

/** An element with a class, holding texts and elements. */
export function make(name, kind, ...inside) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

/** Write only what has changed: a screen reader repeats a status that is written again. */
export function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

export function swatch(label) {
  const mark = make("i", label === UNCERTAIN ? "swatch doubt" : "swatch");
  if (label !== UNCERTAIN && label !== null) mark.style.setProperty("--color", color(label));
  return mark;
}

/** A list of names and values, some of several lines; what is not known is left out. */
export function facts(list, pairs) {
  const known = pairs.map(([name, value]) => [
    name,
    [value].flat().filter((one) => one !== null && one !== undefined && one !== false && one !== ""),
  ]);
  list.replaceChildren(
    ...known
      .filter(([, values]) => values.length)
      .map(([name, values]) =>
        make(
          "div",
          "",
          make("dt", "", text(name)),
          ...values.slice(0, 20).map((value) => make("dd", "", text(value, 300))),
        ),
      ),
  );
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return seconds < 172_800
    ? `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
    : `${Math.floor(seconds / 86_400)} days`;
}
