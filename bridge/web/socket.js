// The daemon's address table over a WebSocket. It comes back by itself; listeners hear what is said by address.

const PREFIX = "/stembridge/";
const RETRY_MS = [500, 1000, 2000, 4000];
const ANSWER_MS = 15000;

export class Refused extends Error {
  constructor(code, sentence) {
    super(sentence);
    this.code = code;
  }
}

export class Daemon {
  #listeners = new Map();
  #waiting = new Map();
  #socket = null;
  #next = 1;
  #tries = 0;

  // `onState` hears "open" and "gone".
  constructor(onState) {
    this.onState = onState;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = (this.#socket = new WebSocket(`${scheme}://${location.host}/page/socket`));
    socket.addEventListener("open", () => {
      this.#tries = 0;
      this.onState("open");
    });
    socket.addEventListener("message", (event) => this.#hear(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Refused("gone", "The daemon went away before it answered."));
      this.#waiting.clear();
      this.onState("gone");
      setTimeout(() => this.connect(), RETRY_MS[Math.min(this.#tries++, RETRY_MS.length - 1)]);
    });
  }

  // Calls `listener` with the arguments of every message to `name` (or, for a name ending in /, below it).
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, []);
    this.#listeners.get(name).push(listener);
  }

  // Sends, and resolves to the arguments of the ack; `also` hears whatever else answers. Rejects with `Refused`.
  ask(name, args = [], also = () => {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Refused("gone", "The daemon is not there."));
    const ref = this.#next++;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting.delete(ref);
        reject(new Refused("late", "The daemon did not answer in time."));
      }, ANSWER_MS);
      const settle = (done) => (value) => (clearTimeout(late), done(value));
      this.#waiting.set(ref, { resolve: settle(resolve), reject: settle(reject), also });
      this.#socket.send(JSON.stringify({ address: PREFIX + name, args, ref }));
    });
  }

  #hear({ address, args, ref }) {
    const name = address.slice(PREFIX.length);
    const asked = ref === undefined ? undefined : this.#waiting.get(ref);
    if (asked && (name === "ack" || name === "pong")) {
      this.#waiting.delete(ref);
      asked.resolve(args);
    } else if (asked && name === "error") {
      this.#waiting.delete(ref);
      asked.reject(new Refused(args[0], args[1]));
    } else {
      asked?.also(name, args);
      for (const listener of this.#listeners.get(name) ?? []) listener(...args);
    }
  }
}
