// Live extension: where the run stands, start, stop and panic. The panic button is there whenever a run is on.

import { announce, byId, capital, h, number, setText, toast } from "./dom.js";

export class Live {
  #status = null;
  #placed = null;

  constructor(daemon) {
    this.daemon = daemon;
    const field = (name, words, low, high, value) => h("label", { class: "field small" }, h("span", {}, words),
      h("input", { type: "number", name, min: low, max: high, step: 1, value, inputmode: "numeric", required: true }));
    this.start = h("button", { type: "submit", class: "start" }, "Start");
    this.stop = h("button", { type: "button", onclick: () => this.#ask("live/stop") }, "Stop");
    this.panic = h("button", { type: "button", class: "panic", onclick: () => this.#ask("live/panic") }, "Panic: silence");
    this.form = h("form", { class: "live-form", onsubmit: (event) => this.#begin(event) },
      field("phrase_bars", "Phrase bars", 1, 64, 4), field("lead_bars", "Lead bars", 1, 256, 4),
      h("label", { class: "field small" }, h("span", {}, "Out"),
        h("select", { name: "out" }, ...["files", "audio", "both"].map((out) => h("option", { value: out }, out)))),
      this.start);
    this.state = h("p", { class: "live-state" });
    this.sentence = h("p", { class: "hint" });
    this.numbers = h("dl", { class: "numbers" });
    this.buttons = h("div", { class: "buttons" }, this.stop, this.panic);
    byId("live").append(h("div", { class: "head" }, h("h2", { id: "live-title" }, "Live"), this.state),
      this.sentence, this.numbers, this.form, this.buttons);
    daemon.on("live/state", (...values) => this.#tell(values));
    daemon.on("live/audio", (run, phase, xruns, underruns) => this.#audio(phase, xruns, underruns));
    daemon.on("live/phrase", (run, slot, filling, bar) => (this.#placed = `${filling} at bar ${bar}`));
    this.#draw();
  }

  forget() {
    this.#status = null;
    this.#draw();
  }

  #tell([run, state, bar, leadBars, leadSeconds, phrases, loops, failed, quality, sentence]) {
    if (this.#status?.state !== state) announce(`Live extension: ${state}. ${sentence}`);
    this.#status = { ...(this.#status?.run === run ? this.#status : {}), run, state, bar, leadBars, leadSeconds, phrases, loops, failed, quality, sentence };
    this.#draw();
  }

  #audio(phase, xruns, underruns) {
    if (this.#status) Object.assign(this.#status, { phase, lost: xruns + underruns });
    this.#draw();
  }

  #draw() {
    const status = this.#status;
    const isOn = Boolean(status) && status.state !== "ended";
    byId("live").classList.toggle("on", isOn);
    document.body.classList.toggle("is-live", isOn);
    setText(this.state, isOn ? capital(status.state) : "Off");
    this.state.dataset.state = isOn ? status.state : "off";
    setText(this.sentence, status?.sentence || (isOn ? "" : "Keeps the source going, ahead of the playhead."));
    this.sentence.hidden = !this.sentence.textContent;
    this.numbers.hidden = !isOn;
    this.form.hidden = isOn;
    this.buttons.hidden = !isOn;
    if (!isOn) return;
    const rows = [["Bar", status.bar], ["Ready ahead", `${number(status.leadBars ?? 0, 1)} bars`], ["Phrases", status.phrases]];
    if (status.loops) rows.push(["Loops", status.loops]);
    if (status.failed) rows.push(["Failed", status.failed]);
    if (status.quality) rows.push(["Quality", `step ${status.quality}`]);
    if (status.phase !== undefined) rows.push(["Off the clock", `${number(status.phase, 1)} ms`], ["Blocks lost", status.lost]);
    if (this.#placed) rows.push(["Last", this.#placed]);
    this.numbers.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
  }

  async #begin(event) {
    event.preventDefault();
    const data = new FormData(this.form);
    const options = ["phrase_bars", "lead_bars"].flatMap((name) => [name, Number(data.get(name))]);
    this.start.disabled = true;
    await this.#ask("live/start", [...options, "out", data.get("out")]);
    this.start.disabled = false;
  }

  async #ask(name, args = []) {
    try {
      await this.daemon.ask(name, args);
    } catch (error) {
      toast(error.message);
    }
  }
}
