// The two canvases: the level of the last minute, and the speech of the last hour.
import { HOUR, MINUTE, PLACES, UNCERTAIN, clock, color, story, wall } from "./story.js";

const LOUDEST = 0, QUIETEST = -90, LEVELS = [-30, -60];
const LINE_MS = 600_000, LEFT = 46;
let ink = null;

/** The colors of the page, which change with the color scheme; and the hatching of doubt made of them. */
function colors() {
  if (ink) return ink;
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "quiet", "track", "edge", "doubt", "doubt-line", "accent", "card"];
  ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  const tile = new OffscreenCanvas(8, 8), pen = tile.getContext("2d");
  pen.fillStyle = ink["doubt-line"];
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = ink.doubt;
  pen.lineWidth = 2.5;
  for (const x of [-8, 0, 8]) {
    pen.moveTo(x, 8);
    pen.lineTo(x + 8, 0);
  }
  pen.stroke();
  ink.hatching = tile;
  return ink;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { ink = null; });

/** A pen in units of the page, whatever the density of the screen. */
function pen(canvas, height = canvas.clientHeight) {
  const density = devicePixelRatio || 1, width = canvas.clientWidth;
  const pixels = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineJoin = "round";
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [context, width, height];
}

function paint(context, label) {
  const { hatching, edge } = colors();
  if (label === UNCERTAIN) return context.createPattern(hatching, "repeat");
  return label === null || label === undefined ? edge : color(label);
}

/** One column a stride, as high as its level; colored while a label was named. */
export function drawMinute(canvas) {
  const [context, width, height] = pen(canvas), { quiet, edge, card } = colors();
  const x = (seconds) => width * (1 - (story.now - seconds) / MINUTE);
  const y = (level) => height * Math.min(1, Math.max(0, (level - LOUDEST) / (QUIETEST - LOUDEST)));
  context.fillStyle = edge;
  for (const level of LEVELS) context.fillRect(0, y(level), width, 1);
  for (const part of story.minute) {
    const left = Math.max(0, x(part.start_seconds)), top = y(part.level_dbfs ?? QUIETEST);
    context.fillStyle = part.gate_open ? paint(context, part.label) : quiet;
    context.globalAlpha = part.gate_open ? 1 : 0.35;
    context.fillRect(left, Math.min(top, height - 1), x(part.end_seconds) - left + 0.4, Math.max(1, height - top));
  }
  context.globalAlpha = 1;
  context.fillStyle = quiet;
  context.strokeStyle = card;
  context.lineWidth = 4;
  for (const level of LEVELS) {
    context.strokeText(`−${-level}`, 2, y(level) - 4);
    context.fillText(`−${-level}`, 2, y(level) - 4);
  }
}

/** Lines of ten minutes by the clock; a block is as tall as the voice is excited. */
export function drawHour(canvas) {
  const now = wall(story.now), from = now - HOUR * 1000, first = Math.floor(from / LINE_MS);
  const n = Math.floor(now / LINE_MS) - first + 1, pitch = canvas.clientWidth > 500 ? 42 : 34, height = n * pitch + 18;
  canvas.style.height = `${height}px`;
  const [context, width] = pen(canvas, height), { quiet, track, accent, edge } = colors();
  const wide = width - LEFT - 2, x = (ms, line) => LEFT + wide * Math.min(1, Math.max(0, ms / LINE_MS - line));
  for (let line = first; line < first + n; line++) {
    const top = (line - first) * pitch + 2, bottom = top + pitch - 8;
    context.fillStyle = quiet;
    context.fillText(clock(line * LINE_MS).slice(0, 5), 0, (top + bottom) / 2 + 4);
    context.strokeStyle = edge;
    context.strokeRect(x(from, line) + 0.5, top + 0.5, x(now, line) - x(from, line) - 1, bottom - top - 1);
    const left = x(Math.max(from, wall(0)), line);
    context.fillStyle = track;
    context.fillRect(left, top, Math.max(0, x(now, line) - left), bottom - top);
    context.fillStyle = edge;
    for (let minute = 1; minute < 10; minute++) context.fillRect(LEFT + (wide * minute) / 10, bottom, 1, 3);
    for (const part of story.hour) {
      const begin = wall(part.start_seconds) / LINE_MS, end = wall(part.end_seconds) / LINE_MS;
      if (end < line || begin >= line + 1) continue;
      const start = x(Math.max(from, begin * LINE_MS), line), tall = (bottom - top) * excitement(part.arousal);
      context.fillStyle = paint(context, part.label);
      context.fillRect(start, bottom - tall, Math.max(1, x(end * LINE_MS, line) - start), tall);
    }
    if (line === first + n - 1) {
      context.fillStyle = accent;
      context.fillRect(x(now, line), top - 2, 2, bottom - top + 4);
    }
  }
  context.fillStyle = quiet;
  for (const minute of [0, 5, 10]) {
    context.textAlign = ["left", "center", "right"][minute / 5];
    context.fillText(minute ? `+${minute} min` : "+0", LEFT + (wide * minute) / 10, height - 5);
  }
  context.textAlign = "left";
}

/** The share of a line's height; arousal lies between those of the calmest and the most excited label. */
function excitement(arousal) {
  const places = Object.values(PLACES).map((place) => place[1]), low = Math.min(...places), high = Math.max(...places);
  return Number.isFinite(arousal) ? 0.35 + 0.65 * Math.min(1, Math.max(0, (arousal - low) / (high - low))) : 0.35;
}
