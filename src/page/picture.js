// A picture with its anomaly map over it, outlines of defects, and the regions in which defects count.

import { picture } from "./api.js";
import { h, s } from "./dom.js";
import { live } from "./live.js";
import { t } from "./texts.js";

/** Pictures come at most this often, milliseconds. */
const OFTEN = 400;

const points = (polygon) => polygon.map(([x, y]) => `${x},${y}`).join(" ");

export class Viewer {
  constructor(label) {
    this.photo = h("img", { class: "photo", alt: label, hidden: true });
    this.veil = h("img", { class: "veil", alt: "", hidden: true });
    this.lines = s("svg", { class: "lines", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.empty = h("p", { class: "empty" }, t("no_picture"));
    this.stage = h("div", { class: "stage" }, this.photo, this.veil, this.lines, this.empty);
    this.seq = null;
    this.size = null;
    this.figures = null;
    this.busy = false;
    this.next = 0;
  }

  set opacity(share) { this.veil.style.opacity = String(share); }

  /** Fetches the camera's newest picture, unless one is on its way or has just come. Calls `shown` when it has changed. */
  async refresh(camera, shown) {
    if (this.busy || performance.now() < this.next) return;
    this.busy = true;
    try {
      const path = `/api/cameras/${encodeURIComponent(camera)}`;
      const got = await picture(`${path}/picture.jpg`);
      if (got.seq !== this.seq) {
        const map = await picture(`${path}/map.png?seq=${got.seq}`).catch(() => null);
        await this.show(got, map?.blob);
        shown?.();
      }
    } catch { /* the next verdict asks again */ } finally {
      this.busy = false;
      this.next = performance.now() + OFTEN;
    }
  }

  /** Shows this picture, and this map over it if there is one. */
  async show(got, map) {
    await Promise.all([put(this.photo, got.blob), put(this.veil, map)]);
    this.seq = got.seq;
    this.figures = got;
    this.resize(got.width, got.height);
    this.stage.dataset.seq = String(got.seq);
    this.empty.hidden = true;
  }

  resize(width, height) {
    this.size = [width, height];
    this.stage.style.setProperty("--ratio", String(width / height));
    this.lines.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  /** The event of the picture that is shown, if it is known. */
  event(camera) { return live.cameras.get(camera)?.frames.get(this.seq) ?? null; }

  outline(defects, regions) {
    const drawn = [
      ...(regions ?? []).map((polygon) => s("polygon", { class: "region", points: points(polygon) })),
      ...(defects ?? []).map(({ polygon, box: [x, y, w, h] }) => (polygon.length > 2
        ? s("polygon", { class: "defect", points: points(polygon) })
        : s("rect", { class: "defect", x, y, width: w, height: h }))),
    ];
    this.lines.replaceChildren(...drawn);
  }
}

/** Decoded before it is shown, so that nothing flickers; the one before is let go. */
async function put(image, blob) {
  if (!blob) {
    image.hidden = true;
    return;
  }
  const before = image.src;
  const url = URL.createObjectURL(blob);
  const coming = new Image();
  coming.src = url;
  await coming.decode().catch(() => null);
  image.src = url;
  image.hidden = false;
  if (before.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(before), 1000);
}
