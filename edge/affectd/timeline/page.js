"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const plot = $("plot"), strip = $("strip"), mark = $("mark"), cursor = $("cursor"), sound = $("sound"), now = $("now");
  const seconds = Number(plot.dataset.seconds), began = plot.dataset.began === "" ? null : Number(plot.dataset.began);
  const rows = [...document.querySelectorAll("tr[data-start]")].map((row) => ({
    row, start: Number(row.dataset.start), end: Number(row.dataset.end), sounds: row.dataset.sounds,
  }));
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
  let zoom = 1, here = null, position = 0;

  const clock = (at, decimals = 0) => {
    const units = Math.round((began === null ? at : (began + at) % 86400) * 10 ** decimals);
    const whole = Math.floor(units / 10 ** decimals), two = (n) => String(n).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const text = began !== null ? `${two(h)}:${two(m)}:${two(s)}` : h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
    return decimals ? `${text}.${String(units % 10 ** decimals).padStart(decimals, "0")}` : text;
  };

  const found = (at) => {
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].end <= at) low = middle + 1; else high = middle;
    }
    return low < rows.length && rows[low].start <= at ? rows[low] : null;
  };

  const follow = () => {
    const x = (position / seconds) * plot.clientWidth;
    if (x < strip.scrollLeft || x > strip.scrollLeft + strip.clientWidth * 0.9)
      strip.scrollLeft = x - strip.clientWidth * 0.1;
  };

  const show = (at) => {
    const x = `${(100 * at) / seconds}%`, segment = found(at);
    position = at;
    cursor.value = at;
    mark.setAttribute("x1", x);
    mark.setAttribute("x2", x);
    mark.setAttribute("visibility", "visible");
    const text = `${clock(at, 1)}: ${segment ? segment.sounds : "no speech"}`;
    now.value = text;
    cursor.setAttribute("aria-valuetext", text);
    if (here !== (segment && segment.row)) {
      if (here) { here.classList.remove("here"); here.removeAttribute("aria-current"); }
      here = segment && segment.row;
      if (here) { here.classList.add("here"); here.setAttribute("aria-current", "true"); }
    }
    follow();
  };

  const go = (at) => {
    const to = Math.min(seconds, Math.max(0, at));
    if (!sound.hidden) sound.currentTime = to;
    show(to);
  };

  const drawAxis = () => {
    const axis = $("axis"), old = axis.querySelector("line"), text = axis.querySelector("text");
    const step = steps.find((s) => (plot.clientWidth * s) / seconds >= 90) || steps[steps.length - 1];
    const made = [];
    for (let k = 0; k * step <= seconds; k++) {
      const x = `${(100 * k * step) / seconds}%`, tick = old.cloneNode(), name = text.cloneNode();
      tick.setAttribute("x1", x);
      tick.setAttribute("x2", x);
      name.setAttribute("x", x);
      const room = ((seconds - k * step) / seconds) * plot.clientWidth;
      name.setAttribute("class", `time ${k === 0 ? "start" : room < 30 ? "end" : "middle"}`);
      name.textContent = clock(k * step, step < 1 ? 1 : 0);
      made.push(tick, name);
    }
    axis.replaceChildren(...made);
  };

  const setZoom = (to) => {
    const widest = Math.max(1, Math.min(30000, seconds * 200) / strip.clientWidth);
    zoom = Math.max(1, Math.min(to, widest));
    plot.setAttribute("width", `${100 * zoom}%`);
    $("narrower").disabled = zoom === 1;
    $("wider").disabled = zoom === widest;
    drawAxis();
    const x = (position / seconds) * plot.clientWidth;
    strip.scrollLeft = x - strip.clientWidth / 2;
  };

  $("wider").addEventListener("click", () => setZoom(zoom * 2));
  $("narrower").addEventListener("click", () => setZoom(zoom / 2));
  addEventListener("resize", () => setZoom(zoom));
  cursor.addEventListener("input", () => go(Number(cursor.value)));
  plot.addEventListener("click", (event) => {
    const box = plot.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * seconds);
  });
  for (const { row, start } of rows) row.querySelector("button").addEventListener("click", () => {
    go(start);
    if (!sound.hidden) sound.play().catch(() => {}); // paused again meanwhile, or not allowed here
  });
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (!file) return;
    URL.revokeObjectURL(sound.src);
    sound.src = URL.createObjectURL(file);
    sound.hidden = false;
    $("about").textContent = "";
  });
  sound.addEventListener("loadedmetadata", () => {
    const other = Math.abs(sound.duration - seconds) > 1;
    $("about").textContent = other ? "This file has another length: is it another recording?" : "";
    sound.currentTime = position;
  });
  sound.addEventListener("error", () => { $("about").textContent = "This browser cannot play this file."; });
  const play = () => {
    show(Math.min(seconds, sound.currentTime));
    if (!sound.paused) requestAnimationFrame(play);
  };
  sound.addEventListener("play", play);
  sound.addEventListener("seeked", () => show(Math.min(seconds, sound.currentTime)));

  $("controls").hidden = false;
  setZoom(1);
  show(0);
})();
