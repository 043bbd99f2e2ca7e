// What the DAW says now: tempo, key, region, transport; each with who told it and how long ago.

import { ago, byId, clock, h, number, setText } from "./dom.js";

const SHOWN = ["tempo", "key", "region", "position"];
const TITLES = { tempo: "Tempo", key: "Key", region: "Region", position: "Transport" };

export class Session {
  #fields = new Map();
  #tiles = new Map();
  listeners = [];

  constructor(daemon) {
    for (const name of SHOWN) {
      const tile = { value: h("span", { class: "value" }), detail: h("span", { class: "detail" }), told: h("span", { class: "told" }) };
      byId("facts").append(h("div", { class: "fact", id: `fact-${name}` },
        h("dt", {}, TITLES[name]), h("dd", {}, tile.value, tile.detail, tile.told)));
      this.#tiles.set(name, tile);
    }
    daemon.on("session/state", (name, value, source, age) => this.#tell(name, value, source, age));
    setInterval(() => this.#draw(), 1000);
    this.#draw();
  }

  value(name) {
    return this.#fields.get(name)?.value ?? "";
  }

  // Everything that was said is said again by whoever answers now.
  forget() {
    this.#fields.clear();
    this.#draw();
  }

  #tell(name, value, source, age) {
    this.#fields.set(name, { value, source, at: performance.now() / 1000 - (age ?? 0) });
    this.#draw();
    for (const listener of this.listeners) listener(name, value, source);
  }

  // Only a constant tempo counts bars here; a map is the daemon's to read.
  get bpm() {
    const words = this.value("tempo").split(/[ ,]+/);
    return words.length === 1 ? Number(words[0]) : words.length === 5 ? Number(words[1]) : NaN;
  }

  get signature() {
    if (this.value("timesig")) return this.value("timesig");
    const words = this.value("tempo").split(/[ ,]+/);
    return words.length >= 5 ? `${words[2]}/${words[3]}` : "";
  }

  #bar(seconds) {
    const [count, unit] = (this.signature || "4/4").split("/").map(Number);
    return (seconds * this.bpm) / 60 / ((count * 4) / unit) + 1;
  }

  #draw() {
    const words = { tempo: this.#tempo(), key: [this.value("key") || "\u2013", ""], region: this.#region(), position: this.#transport() };
    for (const [name, tile] of this.#tiles) {
      const field = this.#fields.get(name);
      const [value, detail] = words[name];
      setText(tile.value, value);
      setText(tile.detail, detail);
      setText(tile.told, field?.source ? `${readable(field.source)}, ${ago(performance.now() / 1000 - field.at)}` : "not told");
      tile.value.closest(".fact").classList.toggle("unknown", value === "\u2013");
    }
    this.#drawProject();
  }

  #tempo() {
    const told = this.value("tempo");
    if (!told) return ["\u2013", this.signature];
    const points = told.split(", ").length;
    const first = told.split(" ").length > 1 ? told.split(" ")[1] : told;
    const signature = this.signature || "4/4";
    return [number(first, 2), points > 1 ? `BPM at first, ${points} points, ${signature}` : `BPM, ${signature}`];
  }

  #region() {
    const told = this.value("region");
    if (!told) return ["\u2013", ""];
    const spans = told.split(", ");
    if (spans.length > 1) return [`${spans.length} regions`, ""];
    const [kind, a, b] = spans[0].split(" ");
    if (kind === "bars") return [bars(Number(a), Number(a) + Number(b)), ""];
    if (kind === "samples") return [`${Number(b) - Number(a)}`, `samples from ${a}`];
    const [start, end] = spans[0].split(" ").map(Number);
    const span = `${clock(start)}\u2013${clock(end)}`;
    const [first, after] = [this.#bar(start), this.#bar(end)];
    const onBars = [first, after].every((bar) => Math.abs(bar - Math.round(bar)) < 1e-3);
    return Number.isFinite(first) && onBars ? [bars(Math.round(first), Math.round(after)), span] : [span, `${number(end - start, 2)} s`];
  }

  #transport() {
    const position = this.value("position");
    const isPlaying = this.value("playing") === "1";
    const state = this.value("playing") === "" ? "" : isPlaying ? "playing" : "stopped";
    byId("fact-position").classList.toggle("playing", isPlaying);
    if (position === "") return [state ? state.charAt(0).toUpperCase() + state.slice(1) : "\u2013", ""];
    return [clock(Number(position)), state];
  }

  #drawProject() {
    const project = this.value("project"), source = this.value("source");
    const name = (path) => path.replace(/ \((from .*|\d+ Hz)\)$/, "").split(/[\\/]/).pop();
    const clockSays = this.value("clock");
    const parts = [];
    if (project) parts.push(`Project ${name(project)}`);
    if (source) parts.push(`source ${name(source)}`);
    if (clockSays) parts.push(`MIDI clock: ${clockSays}`);
    setText(byId("project"), parts.join(" \u00b7 ") || "No DAW has said anything yet.");
    byId("project").title = [project, source].filter(Boolean).join("\n");
  }
}

function bars(first, after) {
  return after - first === 1 ? `Bar ${first}` : `Bars ${first}\u2013${after - 1}`;
}

function readable(source) {
  const [kind, rest] = [source.split(":")[0], source.slice(source.indexOf(":") + 1)];
  return { osc: `OSC ${rest.split(":").pop()}`, reaper: "REAPER", midi: `MIDI ${rest}`, page: "this page", mailbox: "REAPER script" }[kind] ?? source;
}
