// Pairing of controllers on the network: the PIN, who has paired, and an end to it. On the daemon's own machine only.

import { ago, byId, h, setText, toast } from "./dom.js";

export class Network {
  constructor(daemon) {
    this.daemon = daemon;
    this.pin = h("p", { class: "pin", "aria-label": "PIN" });
    this.where = h("p", { class: "hint" });
    this.list = h("ul", { class: "paired" });
    byId("network").append(h("div", { class: "head" }, h("h2", { id: "network-title" }, "Pair a controller")),
      this.pin, this.where, this.list,
      h("div", { class: "buttons" }, h("button", { type: "button", class: "quiet", onclick: () => this.#ask([1]) }, "New PIN")));
    setInterval(() => !byId("network").hidden && !document.hidden && this.#ask(), 5000);
  }

  // Asks only where an answer may be had.
  async show(isHere) {
    byId("network").hidden = true;
    if (isHere) await this.#ask();
  }

  async #ask(args = []) {
    const paired = [];
    let state = null;
    try {
      await this.daemon.ask("lan", args, (name, values) => (name === "lan/state" ? (state = values) : name === "lan/paired" && paired.push(values)));
    } catch {
      return; // a daemon without a network, or not ours to ask
    }
    if (!state?.[0]) return;
    const [, pin, addresses, oscPort, httpPort] = state;
    byId("network").hidden = false;
    setText(this.pin, pin ? `${pin.slice(0, 3)} ${pin.slice(3)}` : "closed");
    const first = addresses.split(",")[0].trim();
    const url = httpPort && first ? `http://${first}:${httpPort}/pair/${pin}` : "";
    setText(this.where, !pin ? "Too many wrong PINs came. Make a new one to let somebody in."
      : first ? `Send /stembridge/pair ${pin} to ${first}, UDP port ${oscPort}${url ? `, or open ${url} there` : ""}.`
      : "No interface of the configuration is up.");
    this.list.replaceChildren(...paired.map(([address, since, heard]) => h("li", {},
      h("span", {}, h("b", {}, address), h("span", { class: "hint" }, ` paired ${ago(since)}${heard >= 0 ? `, heard ${ago(heard)}` : ""}`)),
      h("button", { type: "button", class: "quiet", "aria-label": `Unpair ${address}`, onclick: () => this.#unpair(address) }, "Unpair"))));
    if (!paired.length) this.list.append(h("li", { class: "hint" }, "Nobody has paired."));
  }

  async #unpair(address) {
    try {
      await this.daemon.ask("unpair", [address]);
    } catch (error) {
      toast(error.message);
    }
    await this.#ask();
  }
}
