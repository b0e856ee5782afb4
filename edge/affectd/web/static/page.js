// The connection to the device: one stream of events, opened anew whenever it is lost.
import { showLamp, showState } from "./device.js";
import { $, write } from "./elements.js";
import { showEvent } from "./events.js";
import { drawHour, drawMinute } from "./pictures.js";
import { addEvent, addTrace, begin, named, percent, story } from "./story.js";
import { showSums, showTrace } from "./view.js";

// The device sends its state every 5 s.
const DEAF_MS = 20_000;
const ANSWER_MS = 10_000;
const LONGEST_WAIT_MS = 15_000;
const SAY_MS = 10_000;
const HOUR_MS = 2000;
const LOST = "Connection lost; what you see is old. Trying again …";
let stream = null;
let isOpen = false; // it has told something
// Times are those of a clock that is never set: the browser of a kiosk is on the board, whose own clock jumps.
let heard = 0;
let wait = 1000;
let timer = 0;
let saidAt = -Infinity;
let isDrawing = false;
let hourAt = -Infinity;

function link(words, isLost) {
  write($("link"), words);
  $("link").classList.toggle("lost", isLost);
  document.body.classList.toggle("lost-link", isLost);
  if (words !== "live") showLamp("not known");
}

function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    showTrace();
    drawMinute($("minute"));
    if (performance.now() - hourAt < HOUR_MS) return;
    hourAt = performance.now();
    drawHour($("hour"));
    showSums();
  });
}

function drawAll() {
  hourAt = -Infinity;
  if (story.offset !== null) draw();
}

/** Tell a screen reader, but not more often than can be listened to. */
function say(event) {
  if (event.phase !== "end" || performance.now() - saidAt < SAY_MS) return;
  saidAt = performance.now();
  $("said").textContent = `${named(event.label)}, ${percent(event.probability)}`;
}

const HANDLERS = {
  snapshot(data) {
    begin(data).forEach(showEvent);
    showState();
    drawAll();
    wait = 1000;
    isOpen = true;
    link("live", false);
  },
  trace(data) {
    addTrace(data);
    draw();
  },
  event(data) {
    if (!addEvent(data)) return;
    showEvent(data);
    say(data);
  },
  state(data) {
    story.state = data;
    showState();
    draw();
  },
};

function connect() {
  clearTimeout(timer);
  stream?.close();
  heard = performance.now();
  isOpen = false;
  stream = new EventSource("events");
  for (const [name, take] of Object.entries(HANDLERS)) {
    stream.addEventListener(name, (message) => {
      heard = performance.now();
      let data;
      try {
        data = JSON.parse(message.data);
      } catch {
        return;
      }
      if (data && typeof data === "object") take(data);
    });
  }
  stream.addEventListener("error", lost);
}

/** Find out why there is no stream: the device is away, full, or wants its token. */
async function lost() {
  stream.close();
  clearTimeout(timer);
  if (isOpen) link(LOST, true);
  let status = 0;
  try {
    status = (await fetch("state", { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) })).status;
  } catch {
    /* away */
  }
  if (status === 401) return ask();
  link(status === 200 && !isOpen ? "The device has no room for another viewer. Trying again …" : LOST, true);
  timer = setTimeout(connect, wait * (0.8 + 0.4 * Math.random()));
  wait = Math.min(LONGEST_WAIT_MS, 2 * wait);
}

function ask() {
  link("locked", false);
  $("token").hidden = false;
  $("story").hidden = true;
  $("secret").focus();
}

$("token").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  let status = 0;
  try {
    status = (
      await fetch("session", { headers: { Authorization: `Bearer ${$("secret").value.trim()}` }, cache: "no-store" })
    ).status;
  } catch {
    /* away, or not a header */
  }
  $("secret").value = "";
  if (status !== 204) {
    $("wrong").textContent = status === 401 ? "That is not the token." : "The device did not answer. Try again.";
    return $("secret").focus();
  }
  $("wrong").textContent = "";
  $("token").hidden = true;
  $("story").hidden = false;
  connect();
});

setInterval(() => {
  if (stream.readyState !== EventSource.CLOSED && performance.now() - heard > DEAF_MS) lost();
}, 1000);
document.addEventListener("visibilitychange", () => document.hidden || drawAll());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new ResizeObserver(drawAll).observe($("story"));
connect();
