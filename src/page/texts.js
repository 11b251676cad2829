// The texts of the page, all from one table; a language that lacks a text shows the English one.

import { plain } from "./dom.js";

let table = { en: {} };
let language = "en";

const own = (texts, key) => (texts && Object.hasOwn(texts, key) ? texts[key] : undefined);

export async function load() {
  table = await (await fetch("/page/texts.json")).json();
  let chosen = null;
  try { chosen = localStorage.getItem("language"); } catch { /* a browser that keeps nothing */ }
  const wanted = [chosen, ...(navigator.languages ?? [])].filter(Boolean).map((tag) => tag.slice(0, 2));
  choose(wanted.find((tag) => table[tag]) ?? "en");
}

export function choose(tag) {
  language = tag;
  document.documentElement.lang = tag;
}

export const languages = () => Object.keys(table);
export const current = () => language;

/** The text of this key, `{name}` filled in. A word of the line that has no entry is shown as it is, without its prefix. */
export function t(key, values = {}) {
  const text = own(table[language], key) ?? own(table.en, key);
  if (text === undefined) return plain(key.replace(/^[a-z]+_/, ""));
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** Dates as the person's own country writes them, where the browser says which. */
const locale = () => (navigator.languages ?? []).find((tag) => tag.slice(0, 2) === language) ?? language;

export const time = (stamp) => new Date(stamp).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const moment = (stamp) => new Date(stamp).toLocaleString(locale(), { dateStyle: "short", timeStyle: "medium" });
/** Without seconds. */
export const minute = (stamp) => new Date(stamp).toLocaleString(locale(), { dateStyle: "short", timeStyle: "short" });
