// Part: everything about one part.

import { get } from "./api.js";
import { h, ms, name, number, plain, replace, shape } from "./dom.js";
import { head, row } from "./history.js";
import { moment, t } from "./texts.js";

export async function show(place, id) {
  let got;
  try {
    got = await get(`/api/parts/${encodeURIComponent(id)}`);
  } catch (error) {
    return replace(place, h("p", { class: "card wrong" }, plain(error.message, 300)));
  }
  const { part, similar } = got;
  const { event, reviews } = part;
  const fact = (term, value) => h("div", {}, h("dt", {}, t(term)), h("dd", {}, value));
  const versions = event ? [
    fact("recipe", [name(event.recipe.id), ` v${event.recipe.version}`]), fact("model", [name(event.model.name), ` ${event.model.engine} ${event.model.precision}`]),
    fact("memory", event.model.memory ? [name(event.model.memory.id), ` (${event.model.memory.parts})`] : "–")] : [];
  const stages = event ? h("section", { class: "card" }, h("h2", {}, t("stages")), stageBars(event.latency_ms)) : null;
  const defects = event?.defects.length ? h("section", { class: "card" }, h("h2", {}, t("defects")),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("defects") }, h("table", {},
      h("thead", {}, h("tr", {}, ["peak", "mean", "area", "box"].map((key) => h("th", { scope: "col" }, t(key))))),
      h("tbody", {}, event.defects.map((defect) => h("tr", {}, h("td", { class: "number" }, number(defect.peak)), h("td", { class: "number" }, number(defect.mean)),
        h("td", { class: "number" }, `${defect.area_px} px`), h("td", { class: "number" }, defect.box.join(", ")))))))) : null;
  replace(place,
    h("div", { class: "bar" }, h("h1", {}, t("part"), " ", part.part === null ? t("no_part") : name(part.part))),
    h("div", { class: "commission" },
      h("section", { class: "card" }, h("h2", {}, t("pictures")), h("div", { class: "stack" }, pictures(part))),
      h("div", { class: "steps" },
        h("section", { class: `verdict ${part.verdict}` }, shape(part.verdict), h("div", {}, h("span", { class: "word" }, t(part.verdict)),
          h("p", { class: "part" }, part.reason ? t(`reason_${part.reason}`) : "", event?.suspect ? t(`suspect_${event.suspect}`) : ""))),
        h("section", { class: "card" }, h("dl", { class: "facts wide" }, fact("camera", name(part.camera)), fact("time", moment(part.captured)),
          fact("score", number(part.score)), fact("threshold", number(part.threshold)), fact("latency", ms(part.latency_ms)), ...versions)),
        reviews.length ? h("section", { class: "card" }, h("h2", {}, t("review")), reviews.map((review) => h("p", {}, t(`opinion_${review.opinion}`), " · ", name(review.name), " · ", moment(review.at), review.reason ? [" · ", name(review.reason)] : null))) : null,
        defects, stages)),
    similar.length ? h("section", { class: "card" }, h("h2", {}, t("similar")), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("similar") }, h("table", {}, head(), h("tbody", {}, similar.map(row))))) : null,
    event ? h("details", { class: "card" }, h("summary", {}, t("event")), h("pre", { tabindex: 0 }, plain(JSON.stringify(event, null, 1), 100000).replaceAll("\\u{a}", "\n"))) : null);
}

/** The frame, and the frame with its map; one of the two is seen. */
export function pictures(part) {
  if (!part.has_frame) return h("p", { class: "quiet" }, t("no_pictures_kept"));
  const path = `/api/archive/${part.event_id}`;
  const frame = h("img", { src: `${path}/frame.png`, alt: t("frame_of_part", { part: plain(part.part ?? part.event_id, 60) }), class: "still" });
  if (!part.has_map) return frame;
  const overlay = h("img", { src: `${path}/overlay.png`, alt: t("overlay_of_part", { part: plain(part.part ?? part.event_id, 60) }), class: "still" });
  const box = h("input", { type: "checkbox", id: "with-map", checked: true, onchange: () => { overlay.hidden = !box.checked; frame.hidden = box.checked; } });
  frame.hidden = true;
  return [overlay, frame, h("label", { class: "check", for: "with-map" }, box, t("map_opacity"))];
}

function stageBars(latency) {
  const stages = ["queue", "preprocess", "inference", "postprocess"];
  return h("table", {}, h("tbody", {}, [...stages, "total"].map((stage) => h("tr", {}, h("th", { scope: "row" }, t(`stage_${stage}`)), h("td", { class: "number" }, ms(latency[stage])),
    h("td", { class: "wide" }, h("progress", { max: latency.total || 1, value: latency[stage], "aria-label": t(`stage_${stage}`) }))))));
}

export function view(main, [id]) {
  show(main, id ?? "");
  return () => {};
}
