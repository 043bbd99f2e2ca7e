// One take as it sounds and looks: wavesurfer plays and draws the waves; bars, seams, chords and onsets lie over it.
// Only one player sounds at a time; one that takes over goes on where the last one was, so that takes can be compared.

import WaveSurfer from "./vendor/wavesurfer.esm.js";
import { clock, h, s, setText, signed } from "./dom.js";

const NONCE = document.querySelector('meta[name="style-nonce"]').content;
const HEIGHT = 96;
const LEAD_S = 1.5; // of the song before the region, so that one hears it come
const VIEWS = { song: "In the song", alone: "Alone", original: "Original" };
const dark = matchMedia("(prefers-color-scheme: dark)");
let sounding = null;

export class Player {
  // `address` is where the take is served; `peaks` as from /peaks; `take` and `job` as from /page/jobs/ID.
  constructor(job, take, peaks, address) {
    Object.assign(this, { job, take, peaks, address });
    this.length = peaks.end_s - peaks.start_s;
    this.view = peaks.song ? "song" : "alone";
    this.audio = new Audio();
    this.audio.preload = "none";
    this.audio.src = `${address}/audio?view=${this.view}`;
    this.button = h("button", { type: "button", class: "play", "aria-pressed": "false", "aria-label": `Play ${take.name}`, onclick: () => this.toggle() }, playIcon());
    this.time = h("span", { class: "time", "aria-hidden": "true" });
    this.views = peaks.song ? this.#views() : null;
    this.wave = h("div", {
      class: "wave", tabindex: 0, role: "slider", "aria-label": `Place in ${take.name}`, "aria-valuemin": 0,
      "aria-valuemax": this.length.toFixed(1), onkeydown: (event) => this.#key(event),
    });
    this.head = h("div", { class: "playhead" });
    this.picture = h("div", { class: "picture" }, ...this.#lanes());
    this.waves = WaveSurfer.create({
      container: this.wave, media: this.audio, height: HEIGHT, peaks: [peaks.take.high], duration: this.length, cspNonce: NONCE,
      cursorWidth: 0, hideScrollbar: true, dragToSeek: true,
      renderFunction: (_, context) => this.#paint(context),
    });
    this.waves.on("timeupdate", () => this.#moved());
    this.waves.on("interaction", () => this.#moved());
    for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.#sounds());
    this.audio.addEventListener("error", () => this.audio.hasAttribute("src") && this.#failed());
    this.gone = new AbortController();
    dark.addEventListener("change", () => this.waves.setOptions({}), { signal: this.gone.signal });
    this.begin = Math.max(0, take.start_s - peaks.start_s - (this.view === "song" ? LEAD_S : 0));
    this.waves.once("ready", () => (this.place = this.begin));
    this.#moved();
  }

  // Seconds from the picture's left edge. A file that is not loaded yet does not say where it will begin.
  get place() {
    return this.audio.readyState ? this.audio.currentTime : this.begin;
  }

  set place(seconds) {
    this.begin = Math.min(Math.max(0, seconds), Math.max(0, this.length - 0.01));
    this.waves.setTime(this.begin);
  }

  // The job has left the list.
  close() {
    if (sounding === this) sounding = null;
    this.gone.abort();
    this.audio.pause();
    this.waves.destroy();
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  play() {
    const before = sounding;
    if (before && before !== this && !before.audio.paused) {
      const at = before.peaks.start_s + before.place;
      before.audio.pause();
      if (at >= this.peaks.start_s && at < this.peaks.end_s) this.place = at - this.peaks.start_s;
    } else if (this.place >= this.length - 0.05) {
      this.place = 0;
    }
    sounding = this;
    this.audio.play().catch((error) => error.name !== "AbortError" && this.#failed());
  }

  #views() {
    const choose = (view) => () => {
      const [at, wasSounding] = [this.place, !this.audio.paused];
      this.view = view;
      for (const button of this.views.children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
      this.audio.src = `${this.address}/audio?view=${view}`;
      this.place = at;
      this.waves.setOptions({});
      if (wasSounding) this.play();
    };
    return h("div", { class: "views", role: "group", "aria-label": `Listen to ${this.take.name}` },
      ...Object.entries(VIEWS).map(([view, words]) =>
        h("button", { type: "button", "data-view": view, "aria-pressed": String(view === this.view), onclick: choose(view) }, words)));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[event.key];
    if (event.key === " " || event.key === "Enter") this.toggle();
    else if (event.key === "Home") this.place = 0;
    else if (event.key === "End") this.place = this.length;
    else if (step) this.place += step;
    else return;
    event.preventDefault();
    this.#moved();
  }

  #moved() {
    const at = this.peaks.start_s + this.place;
    setText(this.time, clock(at));
    this.head.style.left = `${(100 * this.place) / this.length}%`;
    this.wave.setAttribute("aria-valuenow", this.place.toFixed(1));
    this.wave.setAttribute("aria-valuetext", `${clock(at)} of the project`);
  }

  #sounds() {
    const on = !this.audio.paused && !this.audio.ended;
    this.button.setAttribute("aria-pressed", String(on));
    this.button.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${this.take.name}`);
    this.picture.classList.toggle("sounds", on);
  }

  #failed() {
    setText(this.time, "cannot be played");
  }

  // --- what is drawn -------------------------------------------------------------------------------------------------
  #percent(time_s) {
    return (100 * (time_s - this.peaks.start_s)) / this.length;
  }

  #lanes() {
    const lines = this.take.lines.filter(([at]) => at >= this.peaks.start_s - 1e-4 && at < this.peaks.end_s);
    const svg = lane("over");
    const left = this.#percent(this.take.start_s), right = this.#percent(this.take.end_s);
    svg.append(s("rect", { class: "region", x: left, y: 0, width: right - left, height: 100 }));
    for (const [at, , count] of lines) svg.append(line(count === 1 ? "bar-line" : "beat-line", this.#percent(at), 0, 100));
    for (const edge of ["start", "end"]) {
      const found = this.take.edges[edge];
      if (found) svg.append(line(found.fine ? "seam" : "seam rough", edge === "start" ? left : right, 0, 100));
      else svg.append(line("edge", edge === "start" ? left : right, 0, 100));
    }
    this.wave.append(svg, this.head);
    this.onsets = h("div", { class: "lane onsets", hidden: true });
    return [this.#axis(lines), this.#chords(), this.wave, this.#edges(left, right), this.onsets];
  }

  #axis(lines) {
    const bars = lines.filter(([, , count]) => count === 1);
    const step = [1, 2, 4, 8, 16, 32, 64, 128].find((n) => bars.length / n <= 10) ?? 256;
    const seconds = [1, 2, 5, 10, 30, 60, 120].find((n) => this.length / n <= 10) ?? 300;
    const first = Math.ceil(this.peaks.start_s / seconds);
    const marks = bars.length
      ? bars.filter(([, bar]) => (bar - 1) % step === 0).map(([at, bar]) => [at, String(bar)])
      : Array.from({ length: Math.floor(this.peaks.end_s / seconds) - first + 1 }, (_, n) => [(first + n) * seconds, `${(first + n) * seconds} s`]);
    const axis = h("div", { class: "lane axis", "aria-hidden": "true" });
    marks.forEach(([at, words], index) => axis.append(placed(h("span", { class: index % 2 ? "odd" : "" }, words), this.#percent(at))));
    return axis;
  }

  #chords() {
    const spans = this.take.chords.filter(([start, end]) => end > this.peaks.start_s && start < this.peaks.end_s);
    if (!spans.length) return h("div", { hidden: true });
    const list = h("ol", { class: "lane chords", "aria-label": "Chords" });
    for (const [start, end, name] of spans) {
      const left = Math.max(0, this.#percent(start));
      const item = placed(h("li", { title: name }, name), left);
      item.style.width = `${Math.min(100, this.#percent(end)) - left}%`;
      list.append(item);
    }
    return list;
  }

  // Words under the seams: how the change of sound there compares with the song's own, and whether it clicks.
  #edges(left, right) {
    const row = h("div", { class: "lane edges" });
    for (const [edge, at] of [["start", left], ["end", right]]) {
      const found = this.take.edges[edge];
      if (!found) continue;
      const click = found.click_db === null ? "" : found.clicks ? `, click ${signed(found.click_db, 0)} dB` : ", no click";
      const words = `seam ${ordinal(found.percentile)} percentile${click}`;
      const title = `At the ${edge} the sound changes by ${found.change_db.toFixed(1)} dB; nine in ten of the song's own changes there stay below ${found.song_high_db.toFixed(1)} dB.`;
      const chip = h("span", { class: found.fine ? "edge-words" : "edge-words rough", title }, words);
      row.append(edge === "start" ? placed(chip, left) : placed(chip, 100 - right, "right"));
    }
    return row.children.length ? row : h("div", { hidden: true });
  }

  // A dot per onset, above the line where it is late and below where it is early.
  showOnsets(onsets) {
    if (onsets.length < 2) return;
    const furthest = onsets.map(([, off]) => Math.abs(off)).sort((a, b) => a - b)[Math.floor(onsets.length * 0.95)];
    const range = [5, 10, 20, 40, 80].find((limit) => furthest <= limit) ?? 160;
    const svg = lane("dots");
    svg.append(line("zero", 0, 50, 50, 100));
    for (const [at, off] of onsets) {
      const y = 50 - 46 * Math.max(-1, Math.min(1, off / range));
      svg.append(line(Math.abs(off) > 20 ? "onset far" : "onset", this.#percent(at), 50, y));
    }
    const { median_ms: median, spread_ms: spread } = this.take.grid;
    const measured = typeof median === "number" ? `median ${signed(median)} ms, spread ${spread.toFixed(1)} ms` : "";
    this.onsets.append(svg);
    this.onsets.hidden = false;
    const title = "Each tick is an onset: up is later than its line of the grid, down is earlier.";
    this.onsets.after(h("p", { class: "lane-words", title }, h("b", {}, "Grid"), ` ${measured ? `${measured}, ` : ""}scale \u00b1${range} ms`));
  }

  #paint(context) {
    const { width, height } = context.canvas;
    const style = getComputedStyle(this.wave);
    const colour = (name) => style.getPropertyValue(name).trim();
    const { song, take, columns } = this.peaks;
    const last = take.first + take.low.length;
    const draw = (low, high, from, to, first, name) => {
      context.fillStyle = colour(name);
      context.beginPath();
      for (let column = from; column < to; column += 1) {
        const x = (column * width) / columns, wide = Math.max(1, width / columns);
        const top = (1 - high[column - first] / 1000) * 0.5 * height, bottom = (1 - low[column - first] / 1000) * 0.5 * height;
        context.rect(x, Math.min(top, bottom - 1), wide + 0.25, Math.max(1, bottom - top));
      }
      context.fill();
    };
    context.clearRect(0, 0, width, height);
    const isOriginal = this.view === "original";
    if (song && this.view !== "alone") {
      draw(song.low, song.high, 0, take.first, 0, "--wave");
      draw(song.low, song.high, last, columns, 0, "--wave");
      if (isOriginal || this.job.added) draw(song.low, song.high, take.first, last, 0, isOriginal ? "--wave-original" : "--wave");
    }
    if (!isOriginal) draw(take.low, take.high, take.first, last, take.first, "--wave-take");
  }
}

// A wave by itself, in the colour of takes: for files that were not made here.
export function plainWave(container, options) {
  const style = getComputedStyle(container);
  return WaveSurfer.create({
    container, height: 72, cspNonce: NONCE, cursorWidth: 1, cursorColor: style.getPropertyValue("--ink"),
    waveColor: style.getPropertyValue("--wave"), progressColor: style.getPropertyValue("--wave-original"), hideScrollbar: true, ...options,
  });
}

function lane(name) {
  return s("svg", { class: name, viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
}

function line(name, x, y1, y2, x2 = x) {
  return s("line", { class: name, x1: x, x2, y1, y2, "vector-effect": "non-scaling-stroke" });
}

function placed(element, percent, side = "left") {
  element.style[side] = `${percent}%`;
  return element;
}

function playIcon() {
  return s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" },
    s("path", { class: "when-stopped", d: "M4 2.5v11l9.5-5.5z" }), s("path", { class: "when-playing", d: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z" }));
}

function ordinal(value) {
  const n = Math.round(value);
  return `${n}${["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;
}
