// Asking for music: in the session that the DAW has told, from a prompt alone, or from a file of your own.

import RegionsPlugin from "./vendor/wavesurfer-regions.esm.js";
import { byId, capital, h, setText, uuid4 } from "./dom.js";
import { plainWave } from "./player.js";

const MODEL = "runware:ace-step@v1.5-xl-base";
const POLL_MS = 1000;
const MODES = { session: "In the session", prompt: "From a prompt", file: "From a file" };
const VERBS = {
  repaint: "make the region anew", extend: "go on after it", prepend: "lead into it", complete: "add instruments",
  lego: "add one instrument", extract: "take one out of the mix", cover: "the same in another style", generate: "from the prompt",
};
const TRACKS = ["drums", "bass", "guitar", "keyboard", "synth", "strings", "percussion", "brass", "woodwinds", "vocals", "backing_vocals", "fx"];

export class Make {
  #key = sessionStorage.getItem("stembridge key") ?? "";
  #file = null;
  #wave = null;
  #span = null;

  constructor(daemon, session) {
    this.daemon = daemon;
    this.session = session;
    this.modes = h("div", { class: "modes", role: "radiogroup", "aria-label": "What to start from" },
      ...Object.entries(MODES).map(([mode, words]) => h("label", {},
        h("input", { type: "radio", name: "mode", value: mode, checked: mode === "session", onchange: () => this.#choose(mode) }), h("span", {}, words))));
    this.verb = h("select", { name: "verb", onchange: () => this.#shape() }, ...Object.entries(VERBS).map(([verb, words]) => h("option", { value: verb }, `${capital(verb)}: ${words}`)));
    this.tracks = h("fieldset", { class: "tracks" }, h("legend", {}, "Instruments"),
      ...TRACKS.map((track) => h("label", {}, h("input", { type: "checkbox", name: "tracks", value: track }), h("span", {}, track.replace("_", " ")))));
    this.picture = h("div", { class: "picked", hidden: true });
    this.file = h("input", { type: "file", accept: "audio/*,.wav,.flac,.mp3,.ogg,.aiff", onchange: () => this.#picked() });
    this.key = h("input", { type: "password", name: "key", autocomplete: "off", value: this.#key });
    this.keyField = h("label", { class: "field", hidden: true }, h("span", {}, "API key of this daemon"), this.key);
    const field = (name, words, input, kind = "") => h("label", { class: `field ${kind}`, "data-field": name }, h("span", {}, words), input);
    const whole = (name, low, high, value) => h("input", { type: "number", name, min: low, max: high, step: 1, value, inputmode: "numeric" });
    this.submit = h("button", { type: "submit", class: "primary" }, "Make");
    this.status = h("p", { class: "make-status", role: "status" });
    this.form = h("form", { class: "make-form", novalidate: true, onsubmit: (event) => this.#send(event) },
      this.modes,
      field("verb", "Verb", this.verb),
      field("file", "Audio file", this.file), this.picture,
      field("prompt", "Prompt", h("textarea", { name: "prompt", rows: 2, maxlength: 3000, placeholder: "warm electric piano, laid-back drums" })),
      this.tracks,
      h("div", { class: "row" },
        field("duration", "Seconds", whole("duration", 30, 300, 30), "small"), field("bpm", "BPM", h("input", { type: "number", name: "bpm", min: 30, max: 300, placeholder: "any" }), "small"),
        field("key_scale", "Key", h("input", { type: "text", name: "key_scale", placeholder: "A minor", autocomplete: "off" }), "small"),
        field("variations", "Takes", whole("variations", 1, 4, 1), "small"),
        field("strength", "Keep", h("input", { type: "number", name: "strength", min: 0, max: 1, step: 0.05, placeholder: "0.5", inputmode: "decimal" }), "small")),
      this.keyField, h("div", { class: "buttons" }, this.submit), this.status);
    byId("make").append(h("div", { class: "head" }, h("h2", { id: "make-title" }, "Make")), this.form);
    session.listeners.push(() => this.#ready());
    this.#choose("session");
  }

  #choose(mode) {
    this.mode = mode;
    this.#shape();
  }

  #shape() {
    const inSession = this.mode === "session", verb = this.verb.value;
    const shown = {
      verb: inSession, file: this.mode === "file", duration: this.mode === "prompt", bpm: this.mode === "prompt", key_scale: this.mode === "prompt",
      variations: true, strength: this.mode === "file" || (inSession && ["repaint", "cover"].includes(verb)), prompt: true,
    };
    for (const [name, isShown] of Object.entries(shown)) this.form.querySelector(`[data-field="${name}"]`).hidden = !isShown;
    this.tracks.hidden = !(inSession && ["complete", "lego", "extract"].includes(verb));
    this.picture.hidden = this.mode !== "file" || !this.#file;
    this.#ready();
  }

  // Says what is missing before it is asked for.
  #ready() {
    if (!this.form || this.status.dataset.kind === "busy") return;
    const missing = this.mode !== "session" ? "" : !this.session.value("project") ? "Open a project in your DAW first." : "";
    if (this.status.dataset.kind !== "done" && this.status.dataset.kind !== "error") this.#say(missing, "hint");
  }

  #say(words, kind) {
    setText(this.status, words);
    this.status.dataset.kind = kind;
  }

  // --- a file and the span of it -------------------------------------------------------------------------------------
  #picked() {
    this.#file = this.file.files[0] ?? null;
    this.#wave?.destroy();
    this.#wave = this.#span = null;
    this.picture.replaceChildren();
    this.picture.hidden = !this.#file;
    if (!this.#file) return;
    const words = h("p", { class: "hint", role: "status" }, "Drag over what is to be made anew, or type it; without a span the whole is covered.");
    const box = h("div", { class: "wave" });
    const edge = () => h("input", { type: "number", min: 0, step: "any", inputmode: "decimal" });
    const [from, to] = [edge(), edge()];
    const clear = h("button", { type: "button", class: "quiet" }, "No span");
    this.picture.append(box, h("div", { class: "span-line" },
      h("label", { class: "field" }, h("span", {}, "From, s"), from), h("label", { class: "field" }, h("span", {}, "To, s"), to), clear), words);
    const regions = RegionsPlugin.create();
    this.#wave = plainWave(box, { plugins: [regions] });
    this.#wave.on("error", () => setText(words, "The browser cannot show this file; the daemon may still read it."));
    const color = getComputedStyle(box).getPropertyValue("--accent-wash");
    const told = (region) => {
      for (const other of regions.getRegions()) if (other !== region) other.remove();
      this.#span = region && { start: round(region.start), end: round(region.end) };
      [from.value, to.value] = region ? [this.#span.start, this.#span.end] : ["", ""];
      setText(words, region ? `Repaint ${region.start.toFixed(2)}\u2013${region.end.toFixed(2)} s.` : "The whole is covered: the same music in another style.");
    };
    const typed = () => {
      if (from.value === "" || to.value === "" || Number(from.value) >= Number(to.value)) return;
      const region = regions.getRegions()[0];
      const span = { start: Number(from.value), end: Number(to.value) };
      if (region) told((region.setOptions(span), region));
      else regions.addRegion({ ...span, color });
    };
    from.addEventListener("change", typed);
    to.addEventListener("change", typed);
    regions.enableDragSelection({ color });
    regions.on("region-created", told);
    regions.on("region-updated", told);
    clear.addEventListener("click", () => (regions.clearRegions(), told(null)));
    this.#wave.loadBlob(this.#file).catch(() => {});
  }

  // --- asking --------------------------------------------------------------------------------------------------------
  async #send(event) {
    event.preventDefault();
    this.submit.disabled = true;
    this.#say("Asking", "busy");
    try {
      const said = new FormData(this.form);
      if (this.mode === "session") await this.#inSession(said);
      else await this.#overHttp(said);
    } catch (error) {
      this.#say(error.message, "error");
    } finally {
      this.submit.disabled = false;
    }
  }

  async #inSession(said) {
    const args = [];
    const give = (name, value) => value !== "" && value !== null && args.push(name, value);
    give("prompt", said.get("prompt").trim());
    give("variations", Number(said.get("variations")));
    if (!this.form.querySelector('[data-field="strength"]').hidden && said.get("strength")) give("strength", Number(said.get("strength")));
    if (!this.tracks.hidden) give("tracks", said.getAll("tracks").join(","));
    const [, verb, engine, position] = await this.daemon.ask(said.get("verb"), args);
    this.#say(`${capital(verb)} is ${position ? `number ${position} in the queue` : "running"}, engine ${engine}.`, "done");
  }

  async #overHttp(said) {
    const number = (name) => (said.get(name) ? Number(said.get(name)) : undefined);
    const task = {
      taskType: "audioInference", taskUUID: uuid4(), model: MODEL, positivePrompt: said.get("prompt").trim(), deliveryMethod: "async",
      outputType: "URL", outputFormat: "FLAC", numberResults: number("variations"),
    };
    if (this.mode === "file") {
      if (!this.#file) throw new Error("Choose an audio file first.");
      this.#say("Uploading", "busy");
      const [kept] = (await this.#post("/v1/media", this.#file, this.#file.type || "application/octet-stream")).data;
      task.inputs = { audio: kept.mediaUUID };
      if (number("strength") !== undefined) task.strength = number("strength");
      if (this.#span) task.settings = { repaintingStart: this.#span.start, repaintingEnd: this.#span.end };
    } else {
      task.duration = number("duration");
      const settings = { bpm: number("bpm"), keyScale: said.get("key_scale").trim() || undefined };
      if (settings.bpm !== undefined || settings.keyScale !== undefined) task.settings = settings;
    }
    await this.#post("/v1", JSON.stringify([task]), "application/json");
    this.#follow(task.taskUUID);
  }

  // Polls like any client of the API; the takes themselves appear in the list on their own.
  async #follow(taskUUID) {
    try {
      for (;;) {
        const { data = [], errors = [] } = await this.#post("/v1", JSON.stringify([{ taskType: "getResponse", taskUUID }]), "application/json", false);
        const open = data.filter((item) => item.status === "processing");
        if (!open.length) {
          const problem = [...data.map((item) => item.error), ...errors].find(Boolean);
          if (problem) throw new Error(problem.message);
          return this.#done(data);
        }
        const progress = open.map((item) => item.progress ?? 0);
        this.#say(`Working, ${Math.round(progress.reduce((sum, value) => sum + value, 0) / progress.length)} %`, "busy");
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    } catch (error) {
      this.#say(error.message, "error");
    }
  }

  #done(items) {
    const links = items.filter((item) => item.audioURL).map((item, index) =>
      h("a", { href: new URL(item.audioURL).pathname, download: "" }, `download ${items.length > 1 ? index + 1 : "it"}`));
    const warning = items.map((item) => item.warning).find(Boolean);
    this.#say("Done; it is the newest of the takes. ", "done");
    for (const link of links) this.status.append(link, " ");
    if (warning) this.status.append(h("span", { class: "note" }, warning));
  }

  async #post(path, body, type, throws = true) {
    this.#key = this.key.value;
    const headers = { "Content-Type": type, ...(this.#key ? { Authorization: `Bearer ${this.#key}` } : {}) };
    const response = await fetch(path, { method: "POST", headers, body });
    const answer = await response.json().catch(() => ({ errors: [{ message: `The daemon answered ${response.status}.` }] }));
    if (response.status === 401) this.keyField.hidden = false;
    else if (this.#key) sessionStorage.setItem("stembridge key", this.#key);
    if (throws && answer.errors?.length) throw new Error(answer.errors.map((error) => error.message).join(" "));
    return answer;
  }
}

const round = (seconds) => Math.round(1000 * seconds) / 1000;
