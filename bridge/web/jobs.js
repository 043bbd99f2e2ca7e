// The queue, and what came of it: jobs as rows, the open ones with progress, the done ones with their takes.

import { ago, announce, byId, capital, duration, getJson, h, setText, toast } from "./dom.js";
import { Takes } from "./takes.js";

const OPEN = ["running", "queued"];
const PAGE = 30;
const LIVE_PRIORITY = 10; // phrases of a live run stay folded: nothing is measured while somebody plays

export class Jobs {
  #jobs = new Map();
  #rows = new Map();
  #cards = new Map();
  #count = PAGE;
  #refresh = null;
  #opened = null; // the newest job, opened by itself; folded again when a newer one comes, unless it is in use

  constructor(daemon) {
    this.daemon = daemon;
    daemon.on("job/state", (id, state, verb) => this.#changed(id, state, verb));
    daemon.on("job/progress", (id, fraction, left) => this.#progressed(id, fraction, left));
    daemon.on("error", (code, sentence, address, id) => {
      if (id === undefined) toast(sentence);
    });
    byId("more").addEventListener("click", () => {
      this.#count = Math.min(200, this.#count + PAGE);
      this.load();
    });
    setInterval(() => this.#tick(), 1000);
  }

  async load() {
    const rows = await getJson(`/page/jobs?count=${this.#count}`);
    const known = this.#jobs;
    this.#jobs = new Map(rows.map((row) => [row.id, { ...known.get(row.id), ...row }]));
    byId("more").hidden = rows.length < this.#count || this.#count >= 200;
    this.#draw();
  }

  // Several events in a row cost one question.
  #later() {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = null;
      this.load().catch((error) => toast(error.message));
    }, 80);
  }

  #changed(id, state, verb) {
    const job = this.#jobs.get(id);
    if (job?.state !== state && !OPEN.includes(state)) announce(`${capital(verb)} ${job?.where ?? ""}: ${state}.`);
    if (job) job.state = state;
    this.#later();
  }

  #progressed(id, fraction, left) {
    const job = this.#jobs.get(id);
    if (!job) return;
    Object.assign(job, { fraction, left, state: "running", leftAt: performance.now() });
    const row = this.#rows.get(id);
    if (row) drawProgress(row, job);
  }

  #tick() {
    for (const [id, row] of this.#rows) {
      const job = this.#jobs.get(id);
      if (job?.state === "running") drawProgress(row, job);
    }
    for (const [id, card] of this.#cards) {
      const job = this.#jobs.get(id);
      if (job) setText(card.when, ago(Date.now() / 1000 - job.ended));
    }
  }

  #draw() {
    const jobs = [...this.#jobs.values()];
    const rank = (job) => (job.state === "running" ? 0 : job.position || 1e6);
    const open = jobs.filter((job) => OPEN.includes(job.state)).sort((a, b) => rank(a) - rank(b));
    this.#drawQueue(open);
    this.#drawHistory(jobs.filter((job) => !OPEN.includes(job.state)));
  }

  #drawQueue(open) {
    const list = byId("queue-list");
    keep(this.#rows, open);
    for (const job of open) {
      if (!this.#rows.has(job.id)) this.#rows.set(job.id, this.#row(job));
      const row = this.#rows.get(job.id);
      drawProgress(row, job);
    }
    place(list, open.map((job) => this.#rows.get(job.id).element));
    list.hidden = !open.length;
    byId("queue-empty").hidden = open.length > 0;
    setText(byId("queue-count"), open.length ? String(open.length) : "");
    byId("queue-count").setAttribute("aria-label", `${open.length} jobs`);
  }

  #row(job) {
    const bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": `Progress of ${title(job)}` }, h("span"));
    const words = h("span", { class: "eta" });
    const cancel = h("button", { type: "button", class: "quiet", "aria-label": `Cancel ${title(job)}`, onclick: () => this.#do("cancel", job.id, cancel) }, "Cancel");
    const element = h("li", { "data-job": job.id },
      h("div", { class: "what" }, h("strong", {}, title(job)), job.prompt && h("span", { class: "prompt" }, job.prompt)),
      h("div", { class: "how" }, bar, words), cancel);
    return { element, bar, words };
  }

  #drawHistory(done) {
    keep(this.#cards, done);
    const newest = done.find((job) => job.state === "done" && job.priority < LIVE_PRIORITY);
    for (const job of done) {
      const known = this.#cards.get(job.id);
      if (known && known.state !== job.state) {
        known.takes?.close();
        known.element.remove();
        this.#cards.delete(job.id);
      }
      if (!this.#cards.has(job.id)) this.#cards.set(job.id, this.#card(job, job === newest));
    }
    place(byId("history"), done.map((job) => this.#cards.get(job.id).element));
    byId("history-empty").hidden = done.length > 0;
    byId("takes-hint").hidden = !done.some((job) => job.state === "done");
  }

  // A job that has ended: folded until it is looked at; the newest is open.
  #card(job, isNewest) {
    const when = h("time", { datetime: new Date(1000 * job.ended).toISOString(), title: new Date(1000 * job.ended).toLocaleString() }, ago(Date.now() / 1000 - job.ended));
    const heading = h("h3", {}, title(job));
    if (job.state !== "done") {
      const retry = h("button", { type: "button", class: "quiet", "aria-label": `Retry ${title(job)}`, onclick: () => this.#do("retry", job.id, retry) }, "Retry");
      const why = job.state === "failed" ? job.failure?.sentence ?? "Failed." : "Cancelled.";
      const element = h("article", { class: `job ended ${job.state}`, "data-job": job.id },
        h("div", { class: "line" }, heading, when, retry), h("p", { class: "why" }, why));
      return { element, when, state: job.state };
    }
    const takes = new Takes(job);
    const body = h("div", { class: "takes", id: `takes-of-${job.id}` });
    const facts = h("p", { class: "facts-line" }, job.prompt && h("span", { class: "prompt" }, job.prompt));
    const details = h("details", { class: "job card", "data-job": job.id, open: isNewest },
      h("summary", {}, heading,
        h("span", { class: "summary-words" }, `${job.takes} ${job.takes === 1 ? "take" : "takes"}`,
          job.score !== null && h("span", { class: "score" }, `, ${job.takes > 1 ? "best score" : "score"} ${Math.round(job.score)}`)), when),
      facts, body);
    const load = () => details.open && takes.show(body).catch((error) => body.replaceChildren(h("p", { class: "why" }, error.message)));
    details.addEventListener("toggle", load);
    for (const use of ["click", "keydown"]) {  // whoever does something in it wants to keep it
      details.addEventListener(use, () => (this.#opened = this.#opened === details ? null : this.#opened));
    }
    if (isNewest) {
      if (this.#opened) this.#opened.open = false;
      this.#opened = details;
    }
    load();
    return { element: details, when, state: job.state, takes };
  }

  async #do(verb, id, button) {
    button.disabled = true;
    try {
      await this.daemon.ask(verb, [id]);
      this.#later();
    } catch (error) {
      toast(error.message);
    } finally {
      button.disabled = false;
    }
  }
}

const title = (job) => capital(job.verb) + (job.where ? ` ${job.where}` : "");

function drawProgress(row, job) {
  const percent = Math.round(100 * (job.fraction ?? 0));
  row.element.dataset.state = job.state;
  row.bar.hidden = job.state !== "running";
  row.bar.setAttribute("aria-valuenow", percent);
  row.bar.firstElementChild.style.width = `${percent}%`;
  const left = (job.left ?? -1) - (performance.now() - (job.leftAt ?? 0)) / 1000;
  const eta = job.left > 0 ? `${duration(Math.max(0, left))} left` : "";
  const words = job.state === "queued" ? (job.position ? `${ordinal(job.position)} in line` : "waiting") : [`${percent} %`, eta].filter(Boolean).join(", ");
  setText(row.words, words);
  row.bar.setAttribute("aria-valuetext", words);
}

const ordinal = (n) => `${n}${["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;

// Forgets what is no longer wanted.
function keep(known, wanted) {
  const ids = new Set(wanted.map((job) => job.id));
  for (const [id, entry] of known) {
    if (ids.has(id)) continue;
    entry.takes?.close();
    entry.element.remove();
    known.delete(id);
  }
}

// Puts elements in order, touching only those that lie elsewhere (a player must not be torn out while it plays).
function place(parent, elements) {
  elements.forEach((element, index) => {
    if (parent.children[index] !== element) parent.insertBefore(element, parent.children[index] ?? null);
  });
}
