// The task settings, made from the daemon's own table: what is set here holds for every verb that comes, from any door.

import { byId, capital, getJson, h, setText } from "./dom.js";

const FIRST = ["prompt", "negative", "variations", "strength", "steps", "guidance"];

export class Settings {
  #rows = new Map();

  constructor(daemon, session) {
    this.daemon = daemon;
    this.first = h("div", { class: "settings-list" });
    this.rest = h("div", { class: "settings-list" });
    byId("settings").append(h("div", { class: "head" }, h("h2", { id: "settings-title" }, "Settings")),
      h("p", { class: "hint" }, "They hold for what is asked from now on, from every door."),
      this.first, h("details", { class: "more" }, h("summary", {}, "All settings"), this.rest));
    session.listeners.push((name, value, source) => name.startsWith("set/") && this.#told(name.slice(4), value, source));
  }

  async load() {
    const specs = await getJson("/page/settings");
    if (!this.#rows.size) for (const spec of specs) this.#add(spec);
    for (const spec of specs) this.#told(spec.name, spec.value ?? "", spec.source ?? "");
  }

  #add(spec) {
    const id = `set-${spec.name}`;
    const input = control(spec, id);
    const reset = h("button", { type: "button", class: "icon reset", title: "Unset", "aria-label": `Unset ${spec.name}`, hidden: true }, "\u00d7");
    const problem = h("p", { class: "problem", role: "alert", hidden: true });
    const output = input.type === "range" ? h("output", { for: id }) : null;
    const element = h("div", { class: "setting", "data-setting": spec.name },
      h("div", { class: "setting-head" }, h("label", { for: id }, capital(spec.name.replace(/_/g, " "))), output, reset),
      input, problem, h("p", { class: "help", id: `${id}-help`, title: `It must be ${spec.allowed}.` }, `${capital(spec.meaning)}.`));
    input.setAttribute("aria-describedby", `${id}-help`);
    const row = { spec, input, reset, problem, output, element };
    this.#rows.set(spec.name, row);
    (FIRST.includes(spec.name) ? this.first : this.rest).append(element);
    input.addEventListener("change", () => this.#set(row, read(row)));
    input.addEventListener("input", () => output && setText(output, input.value));
    reset.addEventListener("click", () => this.#set(row, ""));
  }

  async #set(row, value) {
    try {
      await this.daemon.ask(`set/${row.spec.name}`, [value]);
      row.problem.hidden = true;
      row.input.removeAttribute("aria-invalid");
      if (value === "") this.#told(row.spec.name, "", "", true);
    } catch (error) {
      setText(row.problem, error.message);
      row.problem.hidden = false;
      row.input.setAttribute("aria-invalid", "true");
    }
  }

  // Told by anyone; what is being typed here stays.
  #told(name, value, source, isMine = false) {
    const row = this.#rows.get(name);
    if (!row) return;
    row.reset.hidden = value === "";
    row.element.classList.toggle("is-set", value !== "");
    if (document.activeElement !== row.input || isMine || row.input.type === "range") {
      row.input.value = value !== "" ? value : row.input.type === "range" ? row.spec.default || row.spec.low : "";
    }
    if (row.output) setText(row.output, value !== "" ? value : `${row.spec.default || "unset"}`);
    row.element.title = source ? `Told by ${source}` : "";
  }
}

function control(spec, id) {
  if (spec.choices.length) {
    const unset = h("option", { value: "" }, spec.default ? `${spec.default} (default)` : "unset");
    return h("select", { id }, unset, ...spec.choices.map((choice) => h("option", { value: choice }, choice)));
  }
  if (spec.name === "variations" || (spec.high !== null && spec.high <= 1)) {
    return h("input", { id, type: "range", min: spec.low, max: spec.high, step: spec.step ?? 1 });
  }
  if (spec.low !== null) {
    return h("input", { id, type: "number", min: spec.low, max: spec.high, step: spec.step ?? (spec.type === "number" ? "any" : 1), placeholder: spec.default, inputmode: "decimal" });
  }
  if (spec.longest > 100) return h("textarea", { id, rows: spec.name === "lyrics" ? 4 : 2, maxlength: spec.longest, spellcheck: "false" });
  return h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", placeholder: spec.default });
}

function read({ spec, input }) {
  if (input.value === "" || ["text", "choice", "object"].includes(spec.type)) return input.value;
  return input.type === "range" || input.type === "number" ? Number(input.value) : input.value;
}
