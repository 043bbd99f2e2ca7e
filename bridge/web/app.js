// Puts the page together: one connection, one part per section.

import { byId, getJson, setText } from "./dom.js";
import { Jobs } from "./jobs.js";
import { Live } from "./live.js";
import { Make } from "./make.js";
import { Network } from "./network.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Daemon } from "./socket.js";

const daemon = new Daemon((state) => (state === "open" ? opened() : gone()));
const session = new Session(daemon);
const jobs = new Jobs(daemon);
const live = new Live(daemon);
new Make(daemon, session);
const settings = new Settings(daemon, session);
const network = new Network(daemon);
let wasOpen = false;

function connection(state, words) {
  byId("connection").dataset.state = state;
  setText(byId("connection-words"), words);
}

async function opened() {
  byId("gone").hidden = true;
  document.body.classList.remove("is-gone");
  wasOpen = true;
  try {
    const about = await getJson("/page/about");
    connection("open", `Connected, ${about.engine}`);
    setText(byId("about"), `Stembridge ${about.version}, engine ${about.engine}, OSC on UDP port ${about.osc_port}`);
    network.show(about.here);
    await Promise.all([jobs.load(), settings.load()]);
  } catch (error) {
    connection("gone", "Trouble");
    setText(byId("gone"), error.message);
    byId("gone").hidden = false;
  }
}

function gone() {
  connection("gone", "Not connected");
  session.forget();
  live.forget();
  document.body.classList.add("is-gone");
  setText(byId("gone"), wasOpen
    ? "The daemon has gone. Start it with \u201cstembridge serve\u201d: this page comes back by itself."
    : "The daemon does not answer. Is \u201cstembridge serve\u201d running? This page tries again by itself.");
  byId("gone").hidden = false;
}

daemon.connect();
