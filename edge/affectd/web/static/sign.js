// The lamp of the sign. It asks for the state and holds no stream, for a sign hangs all day and streams are few.
const ASK_MS = 2000,
  PATIENCE_MS = 8000;
const WORDS = {
  listening: { en: "listening", de: "hört zu", fr: "à l’écoute" },
  muted: { en: "muted", de: "stumm", fr: "coupé" },
  off: { en: "no sound", de: "kein Ton", fr: "pas de son" },
  unknown: { en: "not known", de: "unbekannt", fr: "inconnu" },
};
const lamp = document.getElementById("lamp");
let shown = "unknown";

function show(state) {
  if (state === shown) return;
  shown = state;
  lamp.className = state;
  for (const part of lamp.children) part.textContent = WORDS[state][part.lang];
}

/** A lamp that is not sure is not lit, and not out either: it says so. */
async function ask() {
  try {
    const answer = await fetch("state", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    document.getElementById("locked").hidden = answer.status !== 401;
    if (!answer.ok) throw new Error();
    const state = await answer.json();
    const muted = state.microphone?.state === "muted" || state.telemetry?.muted;
    show(state.listening ? "listening" : muted ? "muted" : "off");
  } catch {
    show("unknown");
  }
  setTimeout(ask, ASK_MS);
}

for (const blank of document.querySelectorAll(".blank")) {
  try {
    blank.contentEditable = "plaintext-only";
  } catch {
    blank.contentEditable = "true";
  }
  blank.setAttribute("role", "textbox");
  blank.tabIndex = 0;
}
document.getElementById("print").addEventListener("click", () => print());
ask();
