// The line as it is now: state, last verdicts, kept up to date by the stream of events; whoever shows it subscribes.

import { get, login } from "./api.js";

const RECENT = 50;
const REMEMBERED = 120;
/** So long without a sign of life, and the page says that it shows old news, milliseconds. */
const SILENT = 4000;

export const live = { state: null, cameras: new Map(), connected: false, missed: 0 };

const listeners = new Set();
let source = null;
let heard = 0;
let planned = false;

/** Calls `listener` at most once per frame of the screen after something has changed; returns how to end that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function changed() {
  if (planned) return;
  planned = true;
  const tell = () => {
    planned = false;
    listeners.forEach((listener) => listener());
  };
  document.visibilityState === "visible" ? requestAnimationFrame(tell) : setTimeout(tell, 200);
}

function camera(name) {
  if (!live.cameras.has(name)) live.cameras.set(name, { recent: [], last: null, frames: new Map() });
  return live.cameras.get(name);
}

function remember(of, event) {
  of.last = event;
  if (!event.frame) return;
  of.frames.set(event.frame.seq, event);
  if (of.frames.size > REMEMBERED) of.frames.delete(of.frames.keys().next().value);
}

function brief({ event_id, seq, part, verdict, reason, score, threshold, time }) {
  return { event_id, seq, part, verdict, reason, score, threshold, captured: time.captured };
}

const on = {
  state(state) { live.state = state; },
  recent(all) {
    for (const [name, { recent, last }] of Object.entries(all)) {
      const of = camera(name);
      of.recent = recent;
      remember(of, last);
    }
  },
  verdict(event) {
    const of = camera(event.camera);
    // The stream may tell the newest verdict twice when it begins.
    if (of.recent.at(-1)?.event_id === event.event_id) return;
    of.recent.push(brief(event));
    if (of.recent.length > RECENT) of.recent.shift();
    remember(of, event);
  },
  missed(count) { live.missed += Number(count); },
};

function open() {
  if (source) return;
  source = new EventSource("/api/events");
  for (const [kind, take] of Object.entries(on)) {
    source.addEventListener(kind, (message) => {
      heard = performance.now();
      live.connected = true;
      take(JSON.parse(message.data));
      changed();
    });
  }
  source.addEventListener("error", async () => {
    // Refused for good: the browser does not try again by itself.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    const session = await get("/api/session").catch(() => null);
    if (session && !session.read) await login();
    setTimeout(open, 1000);
  });
}

function close() {
  source?.close();
  source = null;
}

/** Follows the line while somebody looks at the page: hidden pages leave their connection to others. */
export function follow() {
  open();
  document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? open() : close()));
  // A page that is left is kept for the way back: it must not keep one of the six connections that a browser has for us.
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  setInterval(() => {
    const connected = performance.now() - heard < SILENT;
    if (connected !== live.connected) {
      live.connected = connected;
      changed();
    }
  }, 1000);
}
