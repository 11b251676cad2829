// History: which parts there were, how many were rejected and how long they took, and what another threshold would have said.

import { command, get, tried } from "./api.js";
import { h, ms, name, number, plain, replace, s, say, shape } from "./dom.js";
import { live } from "./live.js";
import { minute, moment, t } from "./texts.js";

const PAGE = 40;
const SPANS = { hour: 3600, shift: 8 * 3600, day: 86400, week: 7 * 86400, month: 31 * 86400 };
/** Quarters of an hour that one column of the charts stands for. */
const STEPS = { hour: 1, shift: 1, day: 4, week: 24, month: 96 };
const REASONS = ["camera_lost", "overrun", "deadline", "engine_error", "warming_up", "paused", "frame_damaged", "restarted", "part_not_found"];

/** What was chosen last: whoever comes back from a part finds the same parts. */
const chosen = { span: "day" };

const query = (path, values) => {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return `${path}?${given.map(([key, value]) => `${key}=${encodeURIComponent(typeof value === "object" ? JSON.stringify(value) : value)}`).join("&")}`;
};

export function view(main) {
  if (live.state && !live.state.archive) return replace(main, h("h1", {}, t("history")), h("p", { class: "card" }, t("no_archive")));
  const choice = (id, options) => h("select", { id, onchange: () => load() }, options.map(([value, text]) => h("option", { value }, text)));
  const cameras = (live.state?.cameras ?? []).map(({ camera }) => [camera, plain(camera, 60)]);
  const span = choice("span", Object.keys(SPANS).map((key) => [key, t(`span_${key}`)]));
  const camera = choice("of-camera", [["", t("all_cameras")], ...cameras]);
  const verdict = choice("of-verdict", [["", t("all_verdicts")], ...["pass", "fail", "no_verdict"].map((word) => [word, t(word)])]);
  const reason = choice("of-reason", [["", t("all_reasons")], ...REASONS.map((word) => [word, t(`reason_${word}`)])]);
  const least = h("input", { id: "min-score", type: "number", min: 0, max: 2, step: "any", onchange: () => load() });
  const part = h("input", { id: "of-part", type: "search", onchange: () => load() });
  const labelled = (field, key) => h("div", {}, h("label", { for: field.id }, t(key)), field);
  const numbers = h("dl", { class: "facts wide" });
  const rejects = h("div", { class: "chart" });
  const latency = h("div", { class: "chart" });
  const scores = new Histogram(camera);
  const rows = h("tbody", {});
  const more = h("button", { type: "button", class: "plain", hidden: true, onclick: () => list(false) }, t("more"));
  const zip = h("a", { class: "button", download: "parts.zip", hidden: true }, t("export_zip"));
  let next = null;
  let filter = {};

  const list = async (anew) => {
    const page = await get(query("/api/parts", { filter, after: anew ? null : next, most: PAGE }));
    next = page.next;
    more.hidden = !next;
    zip.hidden = !(anew ? page.parts.length : rows.children.length);
    zip.href = query("/api/export.zip", { filter });
    const made = page.parts.map(row);
    anew ? replace(rows, made) : rows.append(...made);
    if (anew && !made.length) replace(rows, h("tr", {}, h("td", { colspan: 7 }, t("no_parts"))));
  };
  const fields = [span, camera, verdict, reason, least, part];
  fields.forEach((field) => { field.value = chosen[field.id] ?? field.value; });
  const load = async () => {
    fields.forEach((field) => { chosen[field.id] = field.value; });
    const from = new Date(Date.now() - SPANS[span.value] * 1000).toISOString();
    filter = { from };
    for (const [key, field] of [["camera", camera], ["verdict", verdict], ["reason", reason], ["part", part]]) if (field.value) filter[key] = field.value;
    if (least.value) filter.min_score = Number(least.value);
    const over = { from, ...(camera.value ? { camera: camera.value } : {}) };
    try {
      const [periods, spread] = await Promise.all([
        get(query("/api/periods", { filter: over, step: STEPS[span.value] })), get(query("/api/scores", { filter: over })), list(true)]);
      showNumbers(numbers, periods);
      replace(rejects, chart(t("reject_rate"), periods, (period) => (period.pass + period.fail ? (100 * period.fail) / (period.pass + period.fail) : null), "fail", (value) => `${value.toFixed(1)} %`));
      replace(latency, chart(t("latency"), periods, (period) => (period.latency_max_ms ? period.latency_mean_ms : null), "mean", ms));
      scores.show(spread);
    } catch (error) {
      replace(rows, h("tr", {}, h("td", { colspan: 7, class: "wrong" }, plain(error.message, 300))));
    }
  };
  replace(main, h("div", { class: "bar" }, h("h1", {}, t("history"))),
    h("form", { class: "card filters", onsubmit: (event) => { event.preventDefault(); load(); } },
      labelled(span, "span"), labelled(camera, "camera"), labelled(verdict, "verdict"), labelled(reason, "reason"), labelled(least, "min_score"), labelled(part, "part")),
    h("div", { class: "charts" },
      h("section", { class: "card" }, h("h2", {}, t("yield")), numbers, rejects, latency),
      scores.element),
    h("section", { class: "card" }, h("h2", {}, t("parts")),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("parts") }, h("table", {},
        head(), rows)), h("div", { class: "row" }, more, zip)));
  load();
  return () => {};
}

export const head = () => h("thead", {}, h("tr", {}, ["verdict", "part", "camera", "time", "score", "latency", "pictures"].map((key) => h("th", { scope: "col" }, t(key)))));

export function row(part) {
  const link = h("a", { href: `#part/${part.event_id}` }, part.part === null ? t("no_part") : name(part.part));
  return h("tr", {},
    h("td", {}, h("span", { class: `verdict-word ${part.verdict}` }, shape(part.verdict), t(part.verdict), part.reason ? ` · ${t(`reason_${part.reason}`)}` : "")),
    h("td", {}, link), h("td", {}, name(part.camera)), h("td", {}, moment(part.captured)), h("td", { class: "number" }, number(part.score)),
    h("td", { class: "number" }, ms(part.latency_ms)), h("td", {}, part.has_frame ? t("yes") : "–"));
}

function showNumbers(place, periods) {
  const sum = (key) => periods.reduce((total, period) => total + period[key], 0);
  const [pass, fail, none] = [sum("pass"), sum("fail"), sum("no_verdict")];
  const judged = pass + fail;
  const fact = (term, value) => h("div", {}, h("dt", {}, term), h("dd", {}, value));
  replace(place, fact(t("parts"), judged + none), fact(t("yield"), judged ? `${((100 * pass) / judged).toFixed(2)} %` : "–"),
    fact(t("fail"), fail), fact(t("no_verdict"), none));
}

/** Columns over time; the largest value is written beside them. */
function chart(title, periods, of, kind, written) {
  const values = periods.map(of);
  const most = Math.max(...values.filter((value) => value !== null), 0);
  const text = `${title}: ${t("at_most", { value: values.some((value) => value !== null) ? written(most) : "–" })}`;
  const start = periods[0]?.start_s ?? 0;
  const end = periods.length ? periods.at(-1).start_s + periods.at(-1).seconds : 1;
  return [h("p", { class: "quiet" }, text),
    s("svg", { viewBox: "0 0 600 80", preserveAspectRatio: "none", role: "img", "aria-label": text },
      values.map((value, at) => (value === null ? null : s("rect", {
        class: kind, x: (600 * (periods[at].start_s - start)) / (end - start), width: Math.max(1, (560 * periods[at].seconds) / (end - start)),
        y: 80 - (78 * value) / (most || 1), height: Math.max(1, (78 * value) / (most || 1)) })))),
    periods.length ? h("p", { class: "quiet ends" }, h("span", {}, minute(start * 1000)), h("span", {}, minute(end * 1000))) : null];
}

/** How scores are spread, and a threshold that can be dragged over them. */
class Histogram {
  constructor(camera) {
    this.camera = camera;
    this.bars = s("svg", { viewBox: "0 0 600 120", preserveAspectRatio: "none", class: "bars", "aria-hidden": "true" });
    this.line = h("span", { class: "line" });
    this.range = h("input", { type: "range", id: "what-if", min: 0, max: 2, step: 0.01, value: 1, oninput: () => this.count() });
    this.text = h("p", { class: "what-if", role: "status" });
    this.apply = h("button", { type: "button", onclick: () => this.take() }, t("apply"));
    this.hint = h("p", { class: "quiet" });
    this.element = h("section", { class: "card", "aria-labelledby": "scores-h" }, h("h2", { id: "scores-h" }, t("scores")),
      h("div", { class: "histogram" }, this.bars, this.line), h("label", { for: "what-if", class: "quiet" }, t("drag_threshold")), this.range, this.text, this.hint, this.apply);
  }

  show(spread) {
    this.spread = spread;
    const { bin, pass, fail } = spread;
    const last = pass.reduce((last, count, at) => (count + fail[at] ? at : last), 0);
    const cameras = live.state?.cameras ?? [];
    const one = this.camera.value ? cameras.find(({ camera }) => camera === this.camera.value) : cameras.length === 1 ? cameras[0] : null;
    const used = one?.limits?.threshold ?? null;
    this.name = one?.camera ?? null;
    this.most = Math.min(2, Math.max((last + 2) * bin, (used ?? 0) * 1.2, 0.1));
    const bins = Math.ceil(this.most / bin);
    const tallest = Math.max(1, ...pass.map((count, at) => count + fail[at]));
    const width = 600 / bins;
    // Roots of the counts: one rejected part beside ten thousand good ones is seen.
    const tall = (count) => 118 * Math.sqrt(count / tallest);
    replace(this.bars, Array.from({ length: bins }, (_, at) => {
      const [all, good] = [tall(pass[at] + fail[at]), tall(pass[at])];
      const part = pass[at] + fail[at] ? (all * pass[at]) / (pass[at] + fail[at]) : good;
      return [s("rect", { class: "pass", x: at * width, width: width * 0.9, y: 120 - part, height: part }),
        s("rect", { class: "fail", x: at * width, width: width * 0.9, y: 120 - all, height: Math.max(0, all - part) })];
    }).flat());
    this.range.max = this.most.toFixed(2);
    this.range.value = String(used ?? this.most * 0.75);
    this.apply.disabled = !this.name;
    say(this.hint, !this.name ? t("choose_camera") : used === null ? t("by_defects") : "");
    this.hint.hidden = !this.hint.textContent;
    this.count();
  }

  count() {
    if (!this.spread) return;
    const threshold = Number(this.range.value);
    const first = Math.floor(threshold / this.spread.bin + 1e-4);
    const sum = (counts, from) => counts.slice(from).reduce((total, count) => total + count, 0);
    const [good, bad] = [sum(this.spread.pass, first), sum(this.spread.fail, first)];
    const all = sum(this.spread.pass, 0) + sum(this.spread.fail, 0);
    this.line.style.left = `${(100 * threshold) / this.most}%`;
    say(this.text, t("what_if", { threshold: threshold.toFixed(2), fail: good + bad, all, newly: good }));
    this.range.setAttribute("aria-valuetext", this.text.textContent);
  }

  async take() {
    await tried(() => command("threshold", { camera: this.name, threshold: Number(this.range.value) }), t("recipe_changed"));
  }
}
