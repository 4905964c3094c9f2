// A reference in its place: its document's own text, marked by exact offsets.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import * as api from "./api.js";
import { explain, t } from "./text.js";

const AROUND = 1500;
const PARTS = ["dense", "lexical", "sentence", "rerank"];

export function Scores({ reference }) {
  const shown = [["score", reference.recall_score], ...PARTS.map((part) => [part, reference[part]])];
  return html`<dl class="scores">
    ${shown.filter(([, value]) => typeof value === "number").map(
      ([name, value]) => html`<div key=${name}>
        <dt>${t(name)}</dt>
        <dd><meter min="0" max="1" value=${value} aria-label=${t(name)}></meter><span>${value.toFixed(2)}</span></dd>
      </div>`,
    )}
  </dl>`;
}

/** Offsets count characters as Python does; a string here counts some of them twice. */
function cut(part, start, end) {
  const characters = Array.from(part.content);
  const at = (offset) => Math.min(Math.max(offset - part.start, 0), characters.length);
  const join = (from, to) => characters.slice(from, to).join("");
  return [join(0, at(start)), join(at(start), at(end)), join(at(end))];
}

export function Passage({ reference, onClose }) {
  const { document_id: id, start, end } = reference;
  const [range, setRange] = useState([Math.max(0, start - AROUND), end + AROUND]);
  const [part, setPart] = useState(null);
  const [error, setError] = useState("");
  const dialog = useRef(null);
  const mark = useRef(null);
  const seen = useRef(false);

  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
  }, []);
  useEffect(() => {
    let left = false;
    api.content(id, ...range).then(
      (found) => left || setPart(found),
      (failure) => left || setError(explain(failure)),
    );
    return () => {
      left = true;
    };
  }, [id, ...range]);
  useEffect(() => {
    if (part && !seen.current && mark.current) {
      seen.current = true;
      mark.current.scrollIntoView({ block: "center" });
    }
  }, [part]);

  const [before, marked, after] = part ? cut(part, start, end) : ["", reference.content, ""];
  const shut = (event) => {
    if (event.target === dialog.current) dialog.current.close();
  };
  return html`<dialog ref=${dialog} class="passage" aria-labelledby="passage-name" onClose=${onClose} onClick=${shut}>
    <div class="sheet">
      <header>
        <div>
          <p class="eyebrow">${t("passage")}</p>
          <h2 id="passage-name">${reference.name}</h2>
          <p class="quiet">${part && t("characters", { start, end, total: part.total })}</p>
        </div>
        <button type="button" class="plainly" onClick=${() => dialog.current.close()}>${t("close")}</button>
      </header>
      <${Scores} reference=${reference} />
      ${error && html`<p role="alert" class="problem">${error}</p>`}
      <div class="source" tabindex="0" role="region" aria-label=${reference.name}>
        ${part && part.start > 0 &&
        html`<button type="button" class="plainly" onClick=${() => setRange([Math.max(0, range[0] - 6 * AROUND), range[1]])}>
          ${t("before")}</button>`}
        <p class="text">${before}<mark ref=${mark}>${marked}</mark>${after}</p>
        ${part && part.end < part.total &&
        html`<button type="button" class="plainly" onClick=${() => setRange([range[0], range[1] + 6 * AROUND])}>
          ${t("after")}</button>`}
      </div>
    </div>
  </dialog>`;
}
