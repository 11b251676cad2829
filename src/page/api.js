// What the page asks of the line: reading, commands, and the token when one is needed.

import { h, plain, replace } from "./dom.js";
import { t } from "./texts.js";

const OURS = { "x-vcp-line-page": "1" };

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(response) {
  const text = await response.text();
  let body = null;
  try { body = text ? JSON.parse(text) : null; } catch { body = null; }
  if (response.ok) return body;
  throw new Refused(response.status, body?.error ?? `${response.status} ${response.statusText}`);
}

async function asked(path, options) {
  const ask = () => fetch(path, { ...options, headers: { ...OURS, ...options?.headers }, cache: "no-store" });
  let response = await ask();
  if (response.status === 401 && (await login())) response = await ask();
  return response;
}

/** JSON of this path. */
export const get = async (path) => answer(await asked(path));
/** A picture and what its headers say. */
export async function picture(path) {
  const response = await asked(path);
  if (!response.ok) throw new Refused(response.status, response.statusText);
  const of = (name) => Number(response.headers.get(name));
  return {
    blob: await response.blob(), seq: of("x-frame-seq"), width: of("x-frame-width"), height: of("x-frame-height"),
    brightness: of("x-brightness"), clipped: of("x-clipped"), sharpness: of("x-sharpness"),
  };
}
export const post = async (path, body) =>
  answer(await asked(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } }));
/** A command of the line; its acknowledgement. */
export const command = (name, body) => post(`/api/${name}`, { correlation_id: crypto.randomUUID?.() ?? String(Math.random()), ...body });

/** Says in a corner what has become of something. */
export function toast(text, bad = false) {
  const place = document.getElementById("toast");
  const note = h("p", { class: bad ? "bad" : "good" }, plain(text, 600));
  place.append(note);
  setTimeout(() => note.remove(), bad ? 12000 : 5000);
}

/** Carries it out, and says what has become of it. */
export async function tried(work, done) {
  try {
    const ack = await work();
    toast(done ?? t("done"));
    return ack ?? true;
  } catch (error) {
    if (error.status !== 401) toast(error.message, true);
    return null;
  }
}

let asking = null;

/** Asks for the token until it is right or the person gives up. */
export function login() {
  asking ??= ask().finally(() => { asking = null; });
  return asking;
}

function ask() {
  const dialog = document.getElementById("token");
  return new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token-field", autocomplete: "current-password", required: true, spellcheck: "false" });
    const wrong = h("p", { class: "wrong", role: "alert" });
    let right = false;
    const send = async (event) => {
      event.preventDefault();
      const response = await fetch("/api/session", { method: "POST", headers: { ...OURS, authorization: `Bearer ${field.value}` } });
      if (response.status === 204) {
        right = true;
        dispatchEvent(new Event("signed"));
        return dialog.close();
      }
      field.select();
      const said = await response.json().catch(() => null);
      wrong.textContent = response.status === 401 ? t("token_wrong") : plain(said?.error ?? response.status, 300);
    };
    replace(dialog,
      h("form", { onsubmit: send },
        h("h2", { id: "token-title" }, t("token_title")),
        h("p", {}, t("token_why")),
        h("label", { for: "token-field" }, t("token")), field, wrong,
        h("div", { class: "row end" },
          h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, t("cancel")),
          h("button", { type: "submit" }, t("sign_in")))));
    dialog.addEventListener("close", () => resolve(right), { once: true });
    dialog.showModal();
    field.focus();
  });
}
