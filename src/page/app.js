// The page: which view is shown, in which language and light.

import { get, login, tried } from "./api.js";
import { h, plain, replace, say } from "./dom.js";
import { follow, live, subscribe } from "./live.js";
import * as now from "./now.js";
import * as commission from "./commission.js";
import * as history from "./history.js";
import * as part from "./part.js";
import * as review from "./review.js";
import { choose, current, languages, load, t } from "./texts.js";

const VIEWS = { now: now.view, history: history.view, review: review.view, commission: commission.view, part: part.view };
/** Views that need the archive wait until the line has said whether there is one. */
const WAITING = new Set(["history", "review"]);

const main = document.getElementById("main");
let end = null;
let mayChange = false;
let shown = "now";

/** Says which view is shown. */
function mark() {
  document.getElementById("views").querySelectorAll("a").forEach((link) => {
    link.dataset.view === shown ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  });
}

function show() {
  const [wanted, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS[wanted] ? wanted : "now";
  end?.();
  shown = view;
  mark();
  if (WAITING.has(view) && !live.state) {
    replace(main, h("h1", {}, t(view)), h("p", { class: "quiet" }, "…"));
    const begun = subscribe(() => { if (live.state) { begun(); show(); } });
    end = begun;
    return;
  }
  document.title = `${t(view)} · ${plain(live.state?.line ?? "vcp-line", 40)}`;
  end = VIEWS[view](main, rest.map(decodeURIComponent)) ?? null;
}

function frame() {
  replace(document.getElementById("views"),
    Object.keys(VIEWS).filter((view) => view !== "part").map((view) => h("a", { href: `#${view}`, "data-view": view }, t(view))));
  say(document.getElementById("skip"), t("skip"));
  const language = h("select", { "aria-label": t("language"), onchange: (event) => { keep("language", event.target.value); choose(event.target.value); frame(); show(); } },
    languages().map((tag) => h("option", { value: tag, lang: tag, selected: tag === current() }, tag.toUpperCase())));
  const theme = h("button", { type: "button", class: "plain", onclick: turn, "aria-label": t("light_dark"), title: t("light_dark") }, "◐");
  const sign = h("button", { type: "button", class: "plain", onclick: signInOrOut }, t(mayChange ? "sign_out" : "sign_in"));
  replace(document.getElementById("tools"), language, theme, sign);
  mark();
}

function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* not kept */ }
}

function light() {
  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* none kept */ }
  if (theme) document.documentElement.dataset.theme = theme;
}

function turn() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  keep("theme", dark ? "light" : "dark");
  light();
}

async function signInOrOut() {
  if (!mayChange) return login();
  await tried(() => fetch("/api/session", { method: "DELETE", headers: { "x-vcp-line-page": "1" } }), t("signed_out"));
  return look();
}

async function look() {
  const session = await get("/api/session").catch(() => null);
  mayChange = session?.change ?? false;
  frame();
  return session;
}

light();
await load();
frame();
subscribe(() => {
  say(document.getElementById("line"), plain(live.state?.line ?? "vcp-line", 40));
  now.states(document.getElementById("states"));
});
addEventListener("signed", look);
addEventListener("hashchange", () => {
  show();
  // Another view begins at its top, for the eye and for whoever uses the keyboard.
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
});
const session = await look();
if (session && !session.read) await login();
await look();
follow();
show();
