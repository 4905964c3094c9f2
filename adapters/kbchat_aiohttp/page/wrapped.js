// Texts that came with their lines broken at some width: such a break is shown as a space, and stays what it is.

import { html } from "./view.js";

const NARROW = 50; // characters: shorter lines were not broken at a width
const WIDE = 200;
const FULL = 0.75; // of the widest line
const ALONE = /^\s*(?:[#|]|```|~~~)|^(?: {4}|\t)/; // a heading, a row, a fence, code
const FIRST = /^\s*(?:[-*+>]|\d{1,3}[.)]|\[\^?\w+\]:)\s/; // of a list, a quotation, a note
const FENCE = /^\s*(?:```|~~~)/;

/** The paragraphs of a text, as lists of lines with where each ends. */
function paragraphs(text) {
  const found = [];
  let open = null;
  let fenced = false;
  let end = -1;
  for (const line of text.split("\n")) {
    end += line.length + 1;
    if (FENCE.test(line)) fenced = !fenced;
    if (fenced || !line.trim() || ALONE.test(line)) {
      open = null;
      continue;
    }
    if (!open || FIRST.test(line)) found.push((open = []));
    open.push({ line: line.trimEnd(), end });
  }
  return found;
}

/** Where lines end only because they were full: the next word had no room. */
function soft(text) {
  const found = paragraphs(text);
  const width = Math.max(0, ...found.flat().map(({ line }) => line.length));
  const ends = new Set();
  if (width < NARROW || width > WIDE) return ends;
  for (const lines of found) {
    const room = Math.max(...lines.map(({ line }) => line.length));
    const full = ({ line }, i) => {
      const [word] = lines[i + 1].line.trim().split(" ", 1);
      return line.length >= FULL * width && line.length + 1 + word.length > room;
    };
    const broken = lines.slice(0, -1);
    if (broken.every(full)) for (const { end } of broken) ends.add(end);
  }
  return ends;
}

/** The parts of a text, to be shown. An empty part stays empty. */
export function wrapped(parts) {
  const ends = soft(parts.join(""));
  let at = 0;
  return parts.map((part) => {
    const start = at;
    at += part.length;
    if (!part) return "";
    const shown = [];
    let from = 0;
    for (const { 0: gap, index } of part.matchAll(/\n */g)) {
      if (!ends.has(start + index)) continue;
      shown.push(part.slice(from, index), html`<span class="soft">${gap}</span>`);
      from = index + gap.length;
    }
    shown.push(part.slice(from));
    return shown;
  });
}
