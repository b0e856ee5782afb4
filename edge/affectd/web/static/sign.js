// The lamp of the sign. It asks for the state and holds no stream, for a sign hangs all day and streams are few.
const ASK_MS = 2000,
  PATIENCE_MS = 8000;
const WORDS = {
  listening: { en: "listening", de: "hört zu", fr: "à l’écoute" },
  muted: { en: "muted", de: "stumm", fr: "coupé" },
  off: { en: "no sound", de: "kein Ton", fr: "pas de son" },
  unknown: { en: "not known", de: "unbekannt", fr: "inconnu" },
};
const lamp = document.getElementById("lamp"),
  blanks = [...document.querySelectorAll(".blank")],
  // For those who come by, and not for the owner: nothing to click, nothing to write.
  isScreen = location.search === "?screen";
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
    const answer = await fetch("healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const word = (await answer.text()).trim();
    show(Object.keys(WORDS).find((state) => WORDS[state].en === word) ?? "unknown");
  } catch {
    show("unknown");
  }
  setTimeout(ask, ASK_MS);
}

/** What is filled in stands behind the # of the address, which a browser keeps to itself. */
function fill() {
  const texts = new URLSearchParams(location.hash.slice(1));
  blanks.forEach((blank, number) => (blank.textContent = texts.get(`${number}`) ?? ""));
  keep();
}

function keep() {
  const texts = blanks.map((blank, number) => [`${number}`, blank.textContent.trim()]).filter(([, text]) => text);
  const hash = texts.length ? `#${new URLSearchParams(texts)}` : "";
  history.replaceState(null, "", `${location.pathname}${location.search}${hash}`);
  document.getElementById("screen").hash = hash;
}

document.body.classList.toggle("screen", isScreen);
document.querySelector(".owner").hidden = isScreen;
for (const blank of blanks) {
  if (isScreen) {
    blank.removeAttribute("aria-label"); // it would name a field to fill in
    continue;
  }
  try {
    blank.contentEditable = "plaintext-only";
  } catch {
    blank.contentEditable = "true";
  }
  blank.setAttribute("role", "textbox");
  blank.tabIndex = 0;
  blank.addEventListener("input", keep);
}
addEventListener("hashchange", fill);
document.getElementById("print").addEventListener("click", () => print());
fill();
ask();
