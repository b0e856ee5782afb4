// What the page knows. Everything here is bounded, whatever the device sends.

export const HOUR = 3600,
  MINUTE = 60;
export const MOST_EVENTS = 100;
const MOST_SEGMENTS = 5000;

export const UNCERTAIN = "uncertain";
const COLORS = {
  neutral: "#8b98a5",
  calm: "#3aa6b9",
  happy: "#f0b429",
  sad: "#4a7bd0",
  angry: "#e5484d",
  fearful: "#9b6ade",
  disgust: "#5bb974",
  surprised: "#f2803a",
};
// Where the labels lie: valence, arousal. The table of affectd.recognition.affect; a test compares them.
export const PLACES = {
  neutral: [0, 0],
  calm: [0.68, -0.46],
  happy: [0.81, 0.51],
  sad: [-0.63, -0.27],
  angry: [-0.51, 0.59],
  fearful: [-0.64, 0.6],
  disgust: [-0.6, 0.35],
  surprised: [0.4, 0.67],
};

export const story = { state: null, trace: null, minute: [], hour: [], events: [], now: 0, offset: null };

/** Whether a network has labels of its own: then there is no valence and no arousal. */
export const isOwn = (labels) => labels.some((label) => !Object.hasOwn(PLACES, label));

/** The color of a label; those of a network with labels of its own lie around the circle, neighbors of other lightness. */
export function color(label) {
  const labels = story.state?.labels ?? [];
  if (Object.hasOwn(COLORS, label) && !isOwn(labels)) return COLORS[label];
  const place = Math.max(0, labels.indexOf(label));
  return `hsl(${Math.round((360 * place) / (labels.length || 1) + 20) % 360} 60% ${place % 2 ? 42 : 62}%)`;
}

/** Text of the device, of a bounded length; it only ever becomes a text node. */
export const text = (value, most = 120) => {
  const whole = String(value ?? "–");
  return whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
};
/** The name of a label; one that is written from right to left leaves the order of what is beside it alone. */
export const named = (label) => {
  const name = text(label, 60);
  return /[\u0590-\u08ff]/.test(name) ? `\u2068${name}\u2069` : name;
};
export const percent = (p) => (Number.isFinite(p) ? `${Math.round(100 * p)}\u00a0%` : "–");
export const signed = (x, digits = 2) => (Number.isFinite(x) ? x.toFixed(digits).replace("-", "−") : "–");
export const clock = (when) =>
  Number.isNaN(+new Date(when)) ? "–" : new Date(when).toLocaleTimeString([], { hour12: false });
/** A time of the stream on the clock of this browser; the clock of the device may be wrong. */
export const wall = (seconds) => story.offset + 1000 * seconds;

export function best(probabilities) {
  let found = null;
  for (const [label, p] of Object.entries(probabilities ?? {})) if (found === null || p > found[1]) found = [label, p];
  return found;
}

/** Begin with what the device remembers; what this page has seen of the same stream is kept. */
export function begin(snapshot) {
  if (!(snapshot.now_seconds >= story.now)) story.minute = [];
  story.state = snapshot.state;
  story.trace = snapshot.trace;
  if (snapshot.trace && !story.minute.length) story.minute.push(snapshot.trace);
  story.hour = (snapshot.hour ?? []).slice(-MOST_SEGMENTS);
  moveTo(snapshot.now_seconds ?? 0);
  return (snapshot.events ?? []).slice(-MOST_EVENTS).filter(addEvent);
}

export function addTrace(trace) {
  story.trace = trace;
  story.minute.push(trace);
  const last = story.hour.at(-1);
  if (trace.gate_open) {
    const joins = last && last.label === trace.label && Math.abs(last.end_seconds - trace.start_seconds) < 0.005;
    const { start_seconds, end_seconds, label, probability, arousal } = trace;
    if (joins) Object.assign(last, { end_seconds, probability, arousal: mean(last, trace) });
    else story.hour.push({ start_seconds, end_seconds, label, probability, arousal });
  }
  moveTo(trace.end_seconds);
}

/** The arousal of two neighbors together. */
function mean(last, trace) {
  const [before, more] = [last, trace].map((part) => part.end_seconds - part.start_seconds);
  return Number.isFinite(trace.arousal)
    ? (last.arousal * before + trace.arousal * more) / (before + more)
    : last.arousal;
}

/** Keep an event; false if it is known, for after a loss of the connection the device sends its last ones again. */
export function addEvent(event) {
  if (!event.id || story.events.some((known) => known.id === event.id)) return false;
  story.events.push(event);
  story.events.splice(0, story.events.length - MOST_EVENTS);
  return true;
}

function moveTo(seconds) {
  story.now = seconds;
  const offset = Date.now() - 1000 * seconds;
  if (story.offset === null || Math.abs(offset - story.offset) > 2000) story.offset = offset;
  while (story.minute.length && story.minute[0].end_seconds < seconds - MINUTE) story.minute.shift();
  while (story.hour.length && (story.hour[0].end_seconds < seconds - HOUR || story.hour.length > MOST_SEGMENTS))
    story.hour.shift();
}

/** Seconds of speech of the last hour for each label, in the order of the network's labels. */
export function sums() {
  const seconds = new Map([...(story.state?.labels ?? []), UNCERTAIN, null].map((label) => [label, 0]));
  for (const part of story.hour) {
    const length = part.end_seconds - Math.max(part.start_seconds, story.now - HOUR);
    seconds.set(part.label, (seconds.get(part.label) ?? 0) + length);
  }
  return [...seconds];
}

const STATES = {
  healthy: "works",
  degraded: "delivers unfit sound",
  alarmed: "is lost",
  recovering: "is open again, without sound yet",
  escalated: "has been lost for more than 30 s",
  failed: "has been lost for more than 10 minutes; attempts go on",
  muted: "is closed by a command",
};
const REASONS = {
  stalled: "no samples",
  constant: "one value all the time",
  repeated: "one piece of sound over and over",
  missing: "no such device",
  busy: "in use by another program",
  refused: "refused",
  rate: "sound comes too fast or too slowly",
  clicks: "clicks in silence",
  narrow: "nothing above 2.8 kHz",
  quiet: "too quiet",
  clipped: "too loud, cut off at full scale",
};

const UNITS = {
  rate: " times as fast",
  repeated: " s",
  clicks: " a second",
  narrow: " dB",
  quiet: " dBFS",
  clipped: " % of speech",
};

/** Say a state of the microphone, or of a sink, in words. */
export function condition({ state, reason, figure }) {
  const why = REASONS[reason];
  const much = Number.isFinite(figure) ? ` (${signed(figure, reason === "rate" ? 2 : 1)}${UNITS[reason] ?? ""})` : "";
  return text((STATES[state] ?? `is ${text(state)}`) + (why ? `: ${why}${much}` : ""));
}
