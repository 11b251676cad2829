// Elements made from text, never from HTML: whatever a camera, a part or a file is called appears as it is written.

const SVG = "http://www.w3.org/2000/svg";
const LONGEST = 120;

/** Text of others, safe to show: what moves a cursor or turns the direction is spelled out, what is too long is cut. */
export function plain(text, longest = LONGEST) {
  const letters = Array.from(String(text ?? ""));
  const shown = letters.length > longest ? letters.slice(0, longest) : letters;
  const spelled = shown.map((letter) => {
    const code = letter.codePointAt(0);
    const acts = code < 0x20 || (code >= 0x7f && code < 0xa0) || code === 0x200e || code === 0x200f ||
      (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code === 0xfeff;
    return acts ? `\\u{${code.toString(16)}}` : letter;
  }).join("");
  return letters.length > longest ? `${spelled}… (${letters.length})` : spelled;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  for (const child of children.flat(3)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
/** A name that somebody else has chosen, kept apart from the direction of the text around it. */
export const name = (text) => h("bdi", { class: "name", title: plain(text, 2000) }, plain(text));

/** Sets the text only when it is another one: screen readers and layout stay quiet. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const replace = (element, ...children) => element.replaceChildren(...children.flat(3).filter(Boolean));

/** The shapes of the three verdicts: told apart without colour. */
export function shape(verdict) {
  const path = {
    pass: "M5 12.5 10 17.5 19.5 7",
    fail: "M6 6 18 18 M18 6 6 18",
    no_verdict: "M7.5 12h9",
  }[verdict] ?? "M6 12h12";
  const frame = {
    pass: s("circle", { cx: 12, cy: 12, r: 11, class: "ground" }),
    fail: s("path", { d: "M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z", class: "ground" }),
    no_verdict: s("path", { d: "M12 .8 23.2 12 12 23.2.8 12z", class: "ground" }),
  }[verdict];
  return s("svg", { viewBox: "0 0 24 24", class: `shape ${verdict}`, "aria-hidden": "true" }, frame, s("path", { d: path, class: "stroke" }));
}

export const ms = (value) => (value === null || value === undefined ? "–" : `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`);
export const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));
