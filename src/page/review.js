// Review: was the line right? J and K go from part to part, G and B say good or bad; the keyboard alone suffices.

import { get, post, tried } from "./api.js";
import { h, name, number, plain, replace, say, shape } from "./dom.js";
import { live } from "./live.js";
import { pictures } from "./part.js";
import { moment, t } from "./texts.js";

const MOST = 200;

export function view(main) {
  if (live.state && !live.state.archive) return replace(main, h("h1", {}, t("review")), h("p", { class: "card" }, t("no_archive")));
  const list = h("ol", { class: "parts", "aria-label": t("parts") });
  const place = h("div", { class: "stack" });
  const rate = h("p", { class: "quiet", role: "status" });
  const who = h("input", { id: "who", autocomplete: "name", maxlength: 60 });
  const why = h("input", { id: "why", maxlength: 200 });
  try { who.value = localStorage.getItem("who") ?? ""; } catch { /* not kept */ }
  let parts = [];
  const said = new Map();
  let at = 0;

  const select = (index) => {
    at = Math.max(0, Math.min(parts.length - 1, index));
    [...list.children].forEach((item, place) => item.firstChild.setAttribute("aria-current", String(place === at)));
    const item = list.children[at];
    // The list alone moves, not the page under the picture.
    if (item) list.scrollTop = Math.min(Math.max(list.scrollTop, item.offsetTop + item.offsetHeight - list.clientHeight), item.offsetTop);
    const part = parts[at];
    if (!part) return replace(place, h("p", { class: "quiet" }, t("no_parts")));
    replace(place,
      h("div", { class: `verdict ${part.verdict}` }, shape(part.verdict), h("div", {}, h("span", { class: "word" }, t(part.verdict)),
        h("p", { class: "part" }, h("a", { href: `#part/${part.event_id}` }, part.part === null ? t("no_part") : name(part.part)), ` · ${moment(part.captured)} · ${t("score")} ${number(part.score)}`))),
      pictures(part));
  };
  const decide = async (opinion) => {
    const part = parts[at];
    if (!part) return;
    if (!who.value.trim()) {
      who.focus();
      return say(rate, t("who_first"));
    }
    try { localStorage.setItem("who", who.value.trim()); } catch { /* not kept */ }
    const body = { event_id: part.event_id, opinion, name: who.value.trim(), reason: why.value.trim() };
    if (!(await tried(() => post("/api/reviews", body), `${plain(part.part ?? t("no_part"), 40)}: ${t(`opinion_${opinion}`)}`))) return;
    why.value = "";
    said.set(part.event_id, opinion);
    mark(at);
    select(at + 1);
    showRate();
  };
  const mark = (index) => {
    const opinion = said.get(parts[index].event_id);
    const place = list.children[index]?.querySelector(".opinion");
    if (place) say(place, opinion ? t(`opinion_${opinion}`) : "");
  };
  const showRate = async () => {
    const { agreement } = await get("/api/reviews?most=1");
    const { pass_good, pass_bad, fail_good, fail_bad } = agreement;
    const all = pass_good + pass_bad + fail_good + fail_bad;
    say(rate, all ? t("agreement", { rate: ((100 * (pass_good + fail_bad)) / all).toFixed(1), all, missed: pass_bad, needless: fail_good }) : t("no_reviews"));
  };
  const key = (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const work = { j: () => select(at + 1), k: () => select(at - 1), g: () => decide("good"), b: () => decide("bad") }[event.key.toLowerCase()];
    if (!work) return;
    event.preventDefault();
    work();
  };
  addEventListener("keydown", key);
  replace(main, h("div", { class: "bar" }, h("h1", {}, t("review")), rate),
    h("div", { class: "commission review" },
      h("section", { class: "card" }, place,
        h("div", { class: "row" }, h("button", { type: "button", class: "judge pass", onclick: () => decide("good") }, shape("pass"), t("good_key")),
          h("button", { type: "button", class: "judge fail", onclick: () => decide("bad") }, shape("fail"), t("bad_key"))),
        h("div", { class: "filters" }, h("div", {}, h("label", { for: "who" }, t("who")), who), h("div", {}, h("label", { for: "why" }, t("why")), why)),
        h("p", { class: "quiet" }, t("keys"))),
      h("section", { class: "card" }, h("h2", {}, t("parts")), list)));
  const load = async () => {
    const [failed, reviewed] = await Promise.all([
      get(`/api/parts?filter=${encodeURIComponent(JSON.stringify({ pictures: true }))}&most=${MOST}`), get(`/api/reviews?most=1000`)]);
    parts = failed.parts;
    // The newest opinion counts; the list comes newest first.
    reviewed.reviews.forEach((review) => said.has(review.event_id) || said.set(review.event_id, review.opinion));
    replace(list, parts.map((part, index) => h("li", {}, h("button", { type: "button", class: "plain item", onclick: () => select(index) },
      shape(part.verdict), h("span", {}, part.part === null ? t("no_part") : name(part.part)), h("span", { class: "quiet" }, plain(part.camera, 40)), h("b", { class: "opinion" }, said.has(part.event_id) ? t(`opinion_${said.get(part.event_id)}`) : "")))));
    const first = parts.findIndex((part) => !said.has(part.event_id));
    select(first < 0 ? 0 : first);
    await showRate();
  };
  load().catch((error) => replace(place, h("p", { class: "wrong" }, plain(error.message, 300))));
  return () => removeEventListener("keydown", key);
}
