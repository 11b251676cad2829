// Regions drawn on a picture: a click sets a corner, the first corner or Enter closes the polygon.

import { h, replace, s } from "./dom.js";
import { t } from "./texts.js";

/** Draws over `viewer`; `save` gets the polygons, in pixels of the frame. */
export class Regions {
  constructor(viewer, save) {
    this.viewer = viewer;
    this.regions = [];
    this.open = [];
    this.drawing = false;
    this.svg = s("svg", { class: "draw", tabindex: 0, role: "application", "aria-label": t("draw_help"), preserveAspectRatio: "none", hidden: true });
    viewer.stage.append(this.svg);
    this.svg.addEventListener("click", (event) => this.corner(event));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    const button = (key, work) => h("button", { type: "button", class: "plain", onclick: work }, t(key));
    this.begin = button("draw_regions", () => this.start());
    this.tools = h("div", { class: "row", hidden: true },
      button("close_region", () => this.close()), button("undo", () => this.undo()), button("clear", () => this.clear()),
      h("button", { type: "button", onclick: () => { this.close(); save(this.regions).then((kept) => kept && this.stop()); } }, t("save_regions")),
      button("cancel", () => this.stop()));
    this.help = h("p", { class: "quiet", hidden: true }, t("draw_help"));
    this.element = h("div", { class: "regions stack" }, this.begin, this.help, this.tools);
  }

  start() {
    if (!this.viewer.size) return;
    this.drawing = true;
    this.regions = (this.known ?? []).map((polygon) => polygon.map((corner) => [...corner]));
    this.open = [];
    this.svg.setAttribute("viewBox", this.viewer.lines.getAttribute("viewBox"));
    this.show();
    this.svg.focus();
  }

  stop() {
    this.drawing = false;
    this.show();
  }

  corner(event) {
    const [width, height] = this.viewer.size;
    const box = this.svg.getBoundingClientRect();
    const x = Math.min(width - 1, Math.max(0, Math.round(((event.clientX - box.left) / box.width) * width)));
    const y = Math.min(height - 1, Math.max(0, Math.round(((event.clientY - box.top) / box.height) * height)));
    const near = this.open.length > 2 && Math.hypot((this.open[0][0] - x) / width, (this.open[0][1] - y) / height) < 0.025;
    if (near) this.close();
    else this.open.push([x, y]);
    this.show();
  }

  key(event) {
    if (event.key === "Enter") this.close();
    else if (event.key === "Backspace") this.undo();
    else if (event.key === "Escape") this.stop();
    else return;
    event.preventDefault();
  }

  close() {
    if (this.open.length > 2) this.regions.push(this.open);
    this.open = [];
    this.show();
  }

  undo() {
    if (this.open.length) this.open.pop();
    else this.open = this.regions.pop() ?? [];
    this.show();
  }

  clear() {
    [this.regions, this.open] = [[], []];
    this.show();
  }

  show() {
    this.svg.toggleAttribute("hidden", !this.drawing);
    this.tools.hidden = !this.drawing;
    this.begin.hidden = this.drawing;
    this.help.hidden = !this.drawing;
    const text = (polygon) => polygon.map(([x, y]) => `${x},${y}`).join(" ");
    const radius = (this.viewer.size?.[0] ?? 100) / 120;
    replace(this.svg,
      this.regions.map((polygon) => s("polygon", { class: "region", points: text(polygon) })),
      this.open.length ? s("polyline", { class: "region open", points: text(this.open) }) : null,
      this.open.map(([cx, cy]) => s("circle", { class: "corner", cx, cy, r: radius })));
  }
}
