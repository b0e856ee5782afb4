// The two canvases: the level of the last minute, and the speech of the last hour.
import { HOUR, MINUTE, PLACES, UNCERTAIN, clock, color, story, wall } from "./story.js";

const LOUDEST = 0,
  QUIETEST = -90,
  LEVELS = [-30, -60];
const LINE_MS = 600_000,
  LEFT = 46;
let ink = null;

/** The colors of the page, which change with the color scheme. */
function colors() {
  if (ink) return ink;
  const style = getComputedStyle(document.documentElement);
  const names = ["quiet", "track", "edge", "doubt", "doubt-line", "accent", "card"];
  ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return ink;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  ink = null;
});

/** A pen in units of the page, whatever the density of the screen. */
function pen(canvas, height = canvas.clientHeight) {
  const density = devicePixelRatio || 1,
    width = canvas.clientWidth;
  const pixels = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineJoin = "round";
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [context, width, height];
}

/** Fill a block in the color of its label; blocks of doubt are kept for `hatch`. */
function block(context, doubt, label, ...place) {
  if (label === UNCERTAIN) return doubt.rect(...place);
  context.fillStyle = label === null || label === undefined ? colors().edge : color(label);
  context.fillRect(...place);
}

/** Hatch all blocks of doubt at once. */
function hatch(context, doubt, width, height) {
  context.fillStyle = colors()["doubt-line"];
  context.fill(doubt);
  context.save();
  context.clip(doubt);
  context.strokeStyle = colors().doubt;
  context.lineWidth = 2.5;
  context.beginPath();
  for (let x = -height; x < width; x += 8) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
  context.restore();
}

/** One column a stride, as high as its level; colored while a label was named. */
export function drawMinute(canvas) {
  const [context, width, height] = pen(canvas);
  const { quiet, edge, card } = colors();
  const x = (seconds) => width * (1 - (story.now - seconds) / MINUTE);
  const y = (level) => height * Math.min(1, Math.max(0, (level - LOUDEST) / (QUIETEST - LOUDEST)));
  context.fillStyle = edge;
  for (const level of LEVELS) context.fillRect(0, y(level), width, 1);
  const doubt = new Path2D();
  for (const part of story.minute) {
    const left = Math.max(0, x(part.start_seconds));
    const top = Math.min(y(part.level_dbfs ?? QUIETEST), height - 1);
    const place = [left, top, x(part.end_seconds) - left + 0.4, height - top];
    if (part.gate_open) block(context, doubt, part.label, ...place);
    else {
      context.fillStyle = quiet;
      context.globalAlpha = 0.35;
      context.fillRect(...place);
      context.globalAlpha = 1;
    }
  }
  hatch(context, doubt, width, height);
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
  const now = wall(story.now);
  const from = now - HOUR * 1000;
  const first = Math.floor(from / LINE_MS);
  const last = Math.floor(now / LINE_MS);
  const pitch = canvas.clientWidth > 500 ? 42 : 34;
  const height = (last - first + 1) * pitch + 18;
  canvas.style.height = `${height}px`;
  const [context, width] = pen(canvas, height);
  const { quiet, accent } = colors();
  const wide = width - LEFT - 2;
  const doubt = new Path2D();
  for (let line = first; line <= last; line++) {
    const top = (line - first) * pitch + 2;
    const x = (ms) => LEFT + wide * Math.min(1, Math.max(0, ms / LINE_MS - line));
    context.fillStyle = quiet;
    context.fillText(clock(line * LINE_MS).slice(0, 5), 0, top + pitch / 2);
    drawLine(context, doubt, line, x, top, pitch - 8, [from, now]);
  }
  hatch(context, doubt, width, height);
  context.fillStyle = accent;
  context.fillRect(LEFT + wide * (now / LINE_MS - last), (last - first) * pitch, 2, pitch - 4);
  context.fillStyle = quiet;
  for (const minute of [0, 5, 10]) {
    context.textAlign = ["left", "center", "right"][minute / 5];
    context.fillText(minute ? `+${minute} min` : "+0", LEFT + (wide * minute) / 10, height - 5);
  }
  context.textAlign = "left";
}

/** One line: a frame for the time before the device began, a bar for that which it has heard, and the blocks on it. */
function drawLine(context, doubt, line, x, top, tall, [from, now]) {
  const { track, edge } = colors();
  context.strokeStyle = edge;
  context.strokeRect(x(from) + 0.5, top + 0.5, x(now) - x(from) - 1, tall - 1);
  const left = x(Math.max(from, wall(0)));
  context.fillStyle = track;
  context.fillRect(left, top, Math.max(0, x(now) - left), tall);
  context.fillStyle = edge;
  for (let minute = 1; minute < 10; minute++) context.fillRect(x((line + minute / 10) * LINE_MS), top + tall, 1, 3);
  for (const part of story.hour) {
    const begin = wall(part.start_seconds);
    const end = wall(part.end_seconds);
    if (end < line * LINE_MS || begin >= (line + 1) * LINE_MS) continue;
    const start = x(Math.max(from, begin));
    const high = tall * excitement(part.arousal);
    block(context, doubt, part.label, start, top + tall - high, Math.max(1, x(end) - start), high);
  }
}

/** The share of a line's height; arousal lies between those of the calmest and the most excited label. */
function excitement(arousal) {
  const places = Object.values(PLACES).map((place) => place[1]),
    low = Math.min(...places),
    high = Math.max(...places);
  return Number.isFinite(arousal) ? 0.35 + 0.65 * Math.min(1, Math.max(0, (arousal - low) / (high - low))) : 0.35;
}
