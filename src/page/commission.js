// Commission: a camera brought into production, one step after the other, with what is still missing.

import { command, tried } from "./api.js";
import { h, name, plain, replace, s, say } from "./dom.js";
import { live, subscribe } from "./live.js";
import { Viewer } from "./picture.js";
import { Regions } from "./regions.js";
import { moment, t } from "./texts.js";

/** Good parts that a memory and a calibration begin with. */
const PARTS = { learn: 50, calibrate: 59 };

export function view(main, [wanted]) {
  const select = h("select", { id: "camera", onchange: () => choose(select.value) });
  const place = h("div", {});
  replace(main, h("div", { class: "bar" }, h("h1", {}, t("commission")),
    h("div", { class: "slide" }, h("label", { for: "camera" }, t("camera")), select)), place);
  let shown = null;
  const choose = (camera) => {
    shown = new Commissioning(camera);
    replace(place, shown.element);
    update();
  };
  const update = () => {
    const cameras = live.state?.cameras ?? [];
    const names = cameras.map(({ camera }) => camera);
    if (select.options.length !== names.length) {
      replace(select, names.map((camera) => h("option", { value: camera }, plain(camera))));
      if (names.length) {
        select.value = names.includes(wanted) ? wanted : names[0];
        return choose(select.value);
      }
    }
    const camera = cameras.find((camera) => camera.camera === shown?.camera);
    if (camera) shown.update(camera);
  };
  update();
  return subscribe(update);
}

class Commissioning {
  constructor(camera) {
    this.camera = camera;
    this.viewer = new Viewer(t("picture_of", { camera: plain(camera) }));
    this.regions = new Regions(this.viewer, (regions) => this.save(regions));
    this.figures = h("dl", { class: "facts wide" });
    this.trace = s("svg", { class: "trace", viewBox: "0 0 120 30", preserveAspectRatio: "none", role: "img" });
    this.sharp = [];
    this.missing = h("ul", { class: "missing" });
    this.learn = new Step(this, "learn");
    this.calibrate = new Step(this, "calibrate");
    this.limits = this.limitsForm();
    this.element = h("div", { class: "commission" },
      h("section", { class: "card", "aria-labelledby": "live-h" }, h("h2", { id: "live-h" }, t("live_picture")), this.viewer.stage, this.figures, this.trace, this.regions.element),
      h("div", { class: "steps" },
        h("section", { class: "card", "aria-labelledby": "missing-h" }, h("h2", { id: "missing-h" }, t("missing")), this.missing),
        this.learn.element, this.calibrate.element, this.limits));
  }

  limitsForm() {
    const field = (key, max) => h("input", { id: key, type: "number", min: 0, max, step: "any", inputmode: "decimal" });
    this.threshold = field("threshold", 2);
    this.defectThreshold = field("defect_threshold", 1);
    const send = async (event) => {
      event.preventDefault();
      const threshold = this.threshold.value === "" ? null : Number(this.threshold.value);
      const change = { camera: this.camera, threshold, defect_threshold: Number(this.defectThreshold.value) };
      await tried(() => command("threshold", change), t("recipe_changed"));
      this.filled = null;
    };
    this.version = h("p", { class: "quiet" });
    return h("section", { class: "card", "aria-labelledby": "limits-h" }, h("h2", { id: "limits-h" }, t("thresholds")), this.version,
      h("form", { onsubmit: send, class: "fields" },
        h("div", {}, h("label", { for: "threshold" }, t("threshold")), this.threshold, h("p", { class: "quiet" }, t("threshold_none"))),
        h("div", {}, h("label", { for: "defect_threshold" }, t("defect_threshold")), this.defectThreshold),
        h("div", { class: "row" }, h("button", { type: "submit" }, t("apply")),
          h("button", { type: "button", class: "plain", onclick: () => tried(() => command("rollback", { camera: this.camera }), t("rolled_back")) }, t("rollback")))));
  }

  async save(regions) {
    const { id } = this.state.recipe;
    const { threshold, defect_threshold, min_area_px } = this.state.limits;
    return tried(() => command("recipe", { camera: this.camera, id, threshold, defect_threshold, min_area_px, regions }), t("recipe_changed"));
  }

  update(camera) {
    this.state = camera;
    this.regions.known = camera.limits?.regions;
    const drawn = () => {
      const event = this.viewer.event(this.camera);
      this.viewer.outline(this.regions.drawing ? [] : event?.defects, this.regions.drawing ? [] : camera.limits?.regions);
    };
    this.viewer.opacity = this.regions.drawing ? 0 : 0.5;
    this.viewer.refresh(this.camera, () => { drawn(); this.showFigures(); this.showMissing(camera); });
    drawn();
    this.learn.update(camera);
    this.calibrate.update(camera);
    const { recipe, limits } = camera;
    const key = `${recipe.id} ${recipe.version}`;
    if (limits && this.filled !== key) {
      this.filled = key;
      this.threshold.value = limits.threshold === null ? "" : String(Number(limits.threshold.toFixed(4)));
      this.defectThreshold.value = String(Number(limits.defect_threshold.toFixed(4)));
      replace(this.version, t("recipe"), " ", name(recipe.id), ` v${recipe.version}`,
        camera.memory ? [" · ", t("memory_of", { parts: camera.memory.parts })] : null);
    }
    this.showMissing(camera);
  }

  showFigures() {
    const { brightness, clipped, sharpness } = this.viewer.figures;
    const fact = (term, value) => h("div", {}, h("dt", {}, term), h("dd", {}, value));
    replace(this.figures, fact(t("brightness"), `${brightness.toFixed(0)} %`), fact(t("clipped"), `${clipped.toFixed(1)} %`), fact(t("sharpness"), sharpness.toFixed(1)));
    this.sharp.push(sharpness);
    if (this.sharp.length > 60) this.sharp.shift();
    const most = Math.max(...this.sharp, 0.01);
    const line = this.sharp.map((value, at) => `${at * 2},${29 - (27 * value) / most}`).join(" ");
    replace(this.trace, s("polyline", { points: line }));
    this.trace.setAttribute("aria-label", t("sharpness_trace", { value: sharpness.toFixed(1), most: most.toFixed(1) }));
  }

  showMissing(camera) {
    const { mqtt, outbox, alarms } = live.state;
    const seen = this.viewer.figures;
    const items = [
      ["online", camera.state === "online"],
      ["light", seen ? seen.brightness >= 5 && seen.brightness <= 95 && seen.clipped < 20 : null],
      ["memory", camera.memory ? true : null],
      ["calibrated", camera.limits?.calibrated ? true : null],
      ["triggered", camera.trigger !== "free" ? true : null],
      ["broker", mqtt.connected],
      ["outbox", outbox ? !outbox.failing : false],
      ["alarms", !alarms.some((alarm) => !alarm.camera || alarm.camera === camera.camera)],
    ];
    const key = JSON.stringify(items);
    if (this.missing.dataset.key === key) return;
    this.missing.dataset.key = key;
    const word = (well) => (well ? "ready" : well === null ? "to_check" : "is_missing");
    replace(this.missing, items.map(([item, well]) => h("li", { class: well ? "good" : well === null ? "warn" : "bad" },
      s("svg", { viewBox: "0 0 24 24", class: "tiny", "aria-hidden": "true" },
        s("path", { d: well ? "M6 12.5 10.5 17 18 8" : well === null ? "M12 6v7 M12 17v.1" : "M7 7 17 17 M17 7 7 17" })),
      h("span", {}, t(`item_${item}`), " ", h("b", {}, t(word(well)))))));
  }
}

/** Learning or calibrating: begun, followed, ended. */
class Step {
  constructor(of, kind) {
    [this.of, this.kind] = [of, kind];
    this.parts = h("input", { id: `${kind}-parts`, type: "number", min: 1, max: 10000, value: PARTS[kind], inputmode: "numeric" });
    this.apply = h("input", { id: `${kind}-apply`, type: "checkbox", checked: true });
    const send = (event) => {
      event.preventDefault();
      const body = { camera: of.camera, parts: Number(this.parts.value) };
      if (kind === "calibrate") body.apply = this.apply.checked;
      tried(() => command(kind, body), t(`${kind}_begun`));
    };
    this.progress = h("progress", { max: 1, value: 0, "aria-label": t("progress") });
    this.how = h("p", {});
    this.running = h("div", { hidden: true }, this.progress, this.how,
      h("button", { type: "button", class: "plain", onclick: () => tried(() => command(kind, { camera: of.camera, stop: true }), t("ended")) }, t("end")));
    this.form = h("form", { onsubmit: send, class: "fields" },
      h("div", {}, h("label", { for: `${kind}-parts` }, t("good_parts")), this.parts),
      kind === "calibrate" ? h("label", { class: "check", for: "calibrate-apply" }, this.apply, t("take_into_use")) : null,
      h("div", { class: "row" }, h("button", { type: "submit" }, t(`${kind}_begin`))));
    this.last = h("p", { class: "quiet" });
    this.element = h("section", { class: "card", "aria-labelledby": `${kind}-h` },
      h("h2", { id: `${kind}-h` }, t(kind)), h("p", { class: "quiet" }, t(`${kind}_why`)), this.form, this.running, this.last);
  }

  update({ activity, last_activity }) {
    const mine = activity?.kind === this.kind ? activity : null;
    this.form.hidden = Boolean(activity);
    this.running.hidden = !mine;
    if (mine) {
      this.progress.value = mine.parts / mine.wanted;
      say(this.how, t("parts_of", mine) + (mine.waits ? ` · ${plain(mine.waits, 200)}` : ""));
    }
    const ended = last_activity?.kind === this.kind ? last_activity : null;
    say(this.last, !ended ? "" : ended.ok ? t("ended_well", { parts: ended.parts, time: moment(ended.ended) }) : plain(ended.error, 600));
    this.last.classList.toggle("wrong", Boolean(ended && !ended.ok));
  }
}
