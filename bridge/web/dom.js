// Small helpers: elements without markup strings, numbers and times as people read them.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

// Sets text only when it differs, so that screen readers and selections are left alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function announce(text) {
  byId("announcer").textContent = text;
}

export function toast(text, kind = "error") {
  const close = () => note.remove();
  const note = h("div", { class: `toast ${kind}` }, h("p", {}, text),
    h("button", { type: "button", class: "icon", "aria-label": "Dismiss", onclick: close }, "\u00d7"));
  byId("toasts").append(note);
  if (kind !== "error") setTimeout(close, 6000);
  while (byId("toasts").children.length > 3) byId("toasts").firstElementChild.remove();
}

// Enough digits, no more: 104, 97.5, 36.923.
export function number(value, digits = 3) {
  return Number(value).toFixed(digits).replace(/\.?0+$/, "");
}

export function signed(value, digits = 1) {
  return `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(digits)}`;
}

export function clock(seconds) {
  const whole = Math.abs(seconds);
  const minutes = Math.floor(whole / 60);
  return `${seconds < 0 ? "\u2212" : ""}${minutes}:${(whole - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

export function duration(seconds) {
  if (seconds < 1) return "a moment";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${number(seconds / 3600, 1)} h`;
}

export function ago(seconds) {
  return seconds < 5 ? "now" : `${seconds < 3600 * 36 ? duration(seconds) : `${Math.round(seconds / 86400)} days`} ago`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export async function getJson(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error((await response.text()).slice(0, 300) || `The daemon answered ${response.status}.`);
  return response.json();
}

// crypto.randomUUID is there on secure origins only, and a tablet comes by plain HTTP.
export function uuid4() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
