// Now: one tile for each camera, what is wrong with the line, and how everything around it is doing.

import { command, tried } from "./api.js";
import { h, ms, name, number, plain, replace, s, say, shape } from "./dom.js";
import { live, subscribe } from "./live.js";
import { Viewer } from "./picture.js";
import { moment, t, time } from "./texts.js";

const STRIP = 50;

export function view(main) {
  const alarms = h("section", { class: "alarms", "aria-label": t("alarms") });
  const tiles = h("div", { class: "tiles" });
  const opacity = h("input", { type: "range", min: 0, max: 100, value: kept(), id: "opacity" });
  const bar = h("div", { class: "bar" },
    h("h1", {}, t("now")),
    h("div", { class: "slide" }, h("label", { for: "opacity" }, t("map_opacity")), opacity));
  replace(main, bar, alarms, tiles);
  const all = new Map();
  const fade = () => all.forEach((tile) => { tile.viewer.opacity = opacity.value / 100; });
  opacity.addEventListener("input", () => {
    try { localStorage.setItem("opacity", opacity.value); } catch { /* not kept */ }
    fade();
  });

  const update = () => {
    showAlarms(alarms);
    for (const camera of live.state?.cameras ?? []) {
      if (!all.has(camera.camera)) {
        all.set(camera.camera, new Tile(camera.camera));
        tiles.append(all.get(camera.camera).element);
        fade();
      }
      all.get(camera.camera).update(camera);
    }
    tiles.classList.toggle("alone", all.size === 1);
  };
  update();
  return subscribe(update);
}

function kept() {
  try { return localStorage.getItem("opacity") ?? "70"; } catch { return "70"; }
}

class Tile {
  constructor(camera) {
    this.camera = camera;
    this.viewer = new Viewer(t("picture_of", { camera: plain(camera) }));
    this.state = h("span", { class: "chip" });
    this.keep = h("button", { type: "button", class: "plain", hidden: true, onclick: () => this.keepNext() }, t("keep_next"));
    this.word = h("span", { class: "word" });
    this.mark = h("span", { class: "mark" });
    this.part = h("p", { class: "part" });
    this.score = new Bar();
    this.facts = h("dl", { class: "facts" });
    this.strip = s("svg", { class: "strip", role: "img", preserveAspectRatio: "none", viewBox: `0 0 ${STRIP * 4} 20` });
    this.count = h("p", { class: "count" });
    this.banner = h("div", { class: "verdict none" }, this.mark, h("div", {}, this.word, this.part));
    this.element = h("article", { class: "tile", "aria-label": t("camera_named", { camera: plain(camera) }) },
      h("div", { class: "head" }, h("h2", {}, name(camera)), h("div", { class: "row" }, this.keep, this.state)),
      h("div", { class: "body" },
        this.banner,
        this.viewer.stage,
        h("div", { class: "side" }, this.score.element, this.facts,
          h("div", { class: "last" }, this.strip, this.count))));
    this.shown = null;
  }

  update(camera) {
    const of = live.cameras.get(this.camera);
    const state = camera.paused ? "paused" : camera.state;
    say(this.state, t(`camera_${state}`));
    this.state.className = `chip ${state === "online" ? "good" : state === "lost" ? "bad" : "warn"}`;
    this.keep.hidden = !live.state.archive;
    const outline = () => this.viewer.outline(this.viewer.event(this.camera)?.defects, camera.limits?.regions);
    this.viewer.refresh(this.camera, outline);
    outline();
    const event = of?.last;
    if (!event || event.event_id === this.shown) return;
    this.shown = event.event_id;
    if (this.banner.dataset.verdict !== event.verdict) {
      this.banner.dataset.verdict = event.verdict;
      this.banner.className = `verdict ${event.verdict}`;
      replace(this.mark, shape(event.verdict));
      say(this.word, t(event.verdict));
    }
    const id = event.part ? h("a", { href: `#part/${event.event_id}` }, name(event.part.id)) : t("no_part");
    const reason = event.reason ? `${t(`reason_${event.reason}`)} · ` : event.suspect ? `${t(`suspect_${event.suspect}`)} · ` : "";
    replace(this.part, h("span", {}, reason), h("span", {}, id), h("span", { class: "quiet" }, ` ${time(event.time.captured)}`));
    this.score.show(event);
    replace(this.facts,
      fact(t("latency"), ms(event.latency_ms.total)),
      fact(t("defects"), event.verdict === "no_verdict" ? "–" : event.defects.length),
      fact(t("recipe"), h("span", {}, name(event.recipe.id), ` v${event.recipe.version}`)));
    this.showStrip(of.recent);
  }

  keepNext() {
    return tried(() => command("keep", { camera: this.camera }), t("keep_begun", { camera: plain(this.camera, 60) }));
  }

  showStrip(recent) {
    const counts = { pass: 0, fail: 0, no_verdict: 0 };
    const bars = recent.map(({ verdict, event_id }, at) => {
      counts[verdict] += 1;
      const height = { pass: 8, fail: 20, no_verdict: 14 }[verdict];
      return s("rect", { class: verdict, x: (STRIP - recent.length + at) * 4 + 0.5, y: 20 - height, width: 3, height, "data-event": event_id });
    });
    this.strip.replaceChildren(...bars);
    const text = t("last_verdicts", { count: recent.length, ...counts });
    this.strip.setAttribute("aria-label", text);
    say(this.count, text);
  }
}

const fact = (term, value) => h("div", {}, h("dt", {}, term), h("dd", {}, value));

/** The score against its threshold; without one, the strongest place of the map against that of defects. */
class Bar {
  constructor() {
    this.fill = h("span", { class: "fill" });
    this.tick = h("span", { class: "tick" });
    this.label = h("p", { class: "label" });
    this.track = h("div", { class: "track" }, this.fill, this.tick);
    this.element = h("div", { class: "score" }, this.label, this.track);
  }

  show({ verdict, score, threshold, defect_threshold, defects }) {
    const byDefects = threshold === null;
    const limit = byDefects ? defect_threshold : threshold;
    const value = byDefects && defects.length ? defects[0].peak : score;
    this.track.hidden = value === null || (byDefects && !defects.length);
    say(this.label, value === null ? t("no_score") : byDefects
      ? (defects.length ? t("peak_of", { value: number(value), limit: number(limit) }) : t("no_defect_from", { limit: number(limit) }))
      : t("score_of", { value: number(value), limit: number(limit) }));
    if (value === null) return;
    const most = Math.max(limit * 2, value * 1.15, 0.01);
    this.fill.style.width = `${(100 * Math.min(value, most)) / most}%`;
    this.tick.style.left = `${(100 * limit) / most}%`;
    this.fill.className = `fill ${verdict}`;
  }
}

function showAlarms(place) {
  const alarms = live.state?.alarms ?? [];
  const key = JSON.stringify(alarms);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  replace(place, alarms.map((alarm) => h("article", { class: "alarm" },
    s("svg", { viewBox: "0 0 24 24", class: "shape alarm-shape", "aria-hidden": "true" },
      s("path", { d: "M12 2 23 21H1z", class: "ground" }), s("path", { d: "M12 9v6 M12 18v.1", class: "stroke" })),
    h("div", {},
      h("h2", {}, t(`alarm_${alarm.kind}`), alarm.camera ? [" · ", name(alarm.camera)] : null),
      h("p", {}, plain(alarm.message, 900)),
      h("p", { class: "quiet" }, t("since", { time: moment(alarm.since) })),
      alarm.help ? h("details", {}, h("summary", {}, t("what_to_do")), alarm.help.split("\n").map((text) => h("p", { lang: "en" }, plain(text, 4000)))) : null))));
}

/** How the line and what is around it are doing, for the head of every view. */
export function states(place) {
  const state = live.state;
  if (!live.connected || !state) {
    return replace(place, chip("bad", t("page"), t("not_connected")));
  }
  const lost = state.cameras.filter((camera) => camera.state !== "online").length;
  const { mqtt, outbox, model } = state;
  const waiting = mqtt.queued ? ` · ${t("waiting", { count: mqtt.queued })}` : "";
  const full = outbox ? Math.round(outbox.fill * 100) : 0;
  replace(place,
    chip(state.state === "online" ? "good" : state.state === "degraded" ? "warn" : "bad", t("line"), state.activity ? plain(state.activity) : t(`line_${state.state}`)),
    chip(mqtt.connected ? "good" : "bad", t("broker"), t(mqtt.connected ? "connected" : "away") + waiting),
    chip(!outbox ? "warn" : outbox.failing ? "bad" : full >= 80 ? "warn" : "good", t("outbox"), outbox ? (outbox.failing ? t("failing") : t("full", { percent: full })) : t("in_memory")),
    chip(model ? "good" : "warn", t("engine"), model ? `${model.engine} ${model.precision}` : t("starting")),
    chip(lost ? "bad" : "good", t("cameras"), lost ? t("cameras_lost", { lost, count: state.cameras.length }) : t("cameras_well", { count: state.cameras.length })),
    state.archive ? chip(state.archive.taking === false ? "bad" : "good", t("archive"), t(state.archive.taking === false ? "archive_stopped" : "archive_parts", { count: state.archive.parts })) : null);
}

function chip(kind, term, text) {
  const path = { good: "M6 12.5 10.5 17 18 8", warn: "M12 6v7 M12 17v.1", bad: "M7 7 17 17 M17 7 7 17" }[kind];
  return h("span", { class: `chip ${kind}` },
    s("svg", { viewBox: "0 0 24 24", class: "tiny", "aria-hidden": "true" }, s("path", { d: path })),
    h("span", { class: "term" }, term), h("span", {}, text));
}
