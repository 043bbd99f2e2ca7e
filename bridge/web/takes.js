// The takes of one job: a player each, best first, with what it measures.

import { getJson, h } from "./dom.js";
import { Player } from "./player.js";

export class Takes {
  #shown = null;
  #players = [];

  constructor(job) {
    this.job = job;
  }

  // Fills `body` once; a try that failed may be repeated.
  show(body) {
    this.#shown ??= this.#fill(body).catch((error) => {
      this.#shown = null;
      throw error;
    });
    return this.#shown;
  }

  close() {
    for (const player of this.#players) player.close();
  }

  async #fill(body) {
    const job = await getJson(`/page/jobs/${encodeURIComponent(this.job.id)}`);
    const asked = job.asked.filter(([name]) => name !== "seed");
    body.replaceChildren();
    if (asked.length) {
      body.append(h("dl", { class: "asked" }, ...asked.map(([name, value]) => h("div", {}, h("dt", {}, name.replace(/_/g, " ")), h("dd", {}, value)))));
    }
    const common = job.audio.length > 1 ? (job.audio[0].notes ?? []).filter((note) => job.audio.every((take) => take.notes.includes(note))) : [];
    for (const note of common) body.append(h("p", { class: "note" }, note));
    for (const take of job.audio) {
      const element = h("section", { class: "take", "aria-label": take.name });
      body.append(element);
      await this.#take(element, job, take, take.notes.filter((note) => !common.includes(note)));
    }
  }

  async #take(element, job, take, notes) {
    const address = `/page/jobs/${encodeURIComponent(job.id)}/takes/${take.number}`;
    const title = h("h4", {}, take.name);
    const score = h("span", { class: take.best ? "score best" : "score", title: "0 to 100; the measures below say how it comes about" },
      `score ${Math.round(take.score)}`, take.best ? ", best" : "");
    try {
      const player = new Player(job, take, await getJson(`${address}/peaks`), address);
      this.#players.push(player);
      element.append(h("div", { class: "take-head" }, player.button, title, score, player.time, player.views), player.picture);
      getJson(`${address}/onsets`).then((onsets) => player.showOnsets(onsets)).catch(() => {});
    } catch (error) {
      element.append(h("div", { class: "take-head" }, title, score), h("p", { class: "why" }, error.message));
    }
    for (const note of notes) element.append(h("p", { class: "note" }, note));
    element.append(measures(take));
  }
}

function measures(take) {
  const hasSong = take.rows.some((row) => row.song);
  const body = take.rows.map((row) => h("tr", {},
    h("th", { scope: "row" }, row.name.charAt(0).toUpperCase() + row.name.slice(1)),
    h("td", {}, row.words),
    hasSong && h("td", { class: "song", "data-head": "Song" }, row.song),
    h("td", { class: "number" }, row.subscore === null ? "" : subscore(row))));
  return h("details", { class: "measures" },
    h("summary", {}, "Measures and file"),
    body.length > 0 && h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Measure"), h("th", { scope: "col" }, "Take"),
        hasSong && h("th", { scope: "col" }, "Song"), h("th", { scope: "col", class: "number" }, "Of 100"))),
      h("tbody", {}, ...body)),
    h("p", { class: "file", title: take.folder }, h("b", {}, take.file), `${take.midi ? `, ${take.midi}` : ""} in ${take.folder}`),
    h("p", { class: "file" }, `${take.engine}, seed ${take.seed}, ${take.frames} samples at ${take.rate} Hz`));
}

function subscore(row) {
  const percent = Math.round(100 * row.subscore);
  const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
  bar.firstElementChild.style.width = `${percent}%`;
  return h("span", { class: "subscore", title: row.weight === null ? "" : `counts ${Math.round(row.weight)} % of the score` }, bar, String(percent));
}
