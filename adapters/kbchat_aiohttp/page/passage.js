// A reference in its place: its document's own text, marked by exact offsets.

import { html, useEffect, useRef, useState } from "./view.js";
import * as api from "./api.js";
import { Bar } from "./bars.js";
import { wrapped } from "./wrapped.js";
import { explain, t } from "./text.js";

const AROUND = 1500;
const PARTS = ["lexical", "dense", "sentence", "rerank"];

function Scores({ reference }) {
  const shown = [["score", reference.recall_score], ...PARTS.map((part) => [part, reference[part]])];
  return html`<dl class="bars bare">
    ${shown.filter(([, value]) => typeof value === "number").map(
      ([name, value]) => html`<${Bar} key=${name} name=${t(name)} value=${value} kind=${name === "score" ? "strong" : ""} />`,
    )}
  </dl>`;
}

/** A text cut at offsets, which count characters as Python does; a string here counts some of them twice. */
function cut(part, ...offsets) {
  const characters = Array.from(part.content);
  const at = [0, ...offsets.map((offset) => Math.min(Math.max(offset - part.start, 0), characters.length))];
  return at.map((from, i) => characters.slice(from, at[i + 1]).join(""));
}

/** The passage, and within it the place that carries the sentence by which it was opened. */
function Marked({ part, reference, anchor }) {
  const { start, end, checked } = reference;
  const place = checked?.document_id === reference.document_id ? checked : null;
  const inside = place && place.start !== null && place.start >= start && place.start < end;
  const [from, to] = inside ? [place.start, place.end] : [end, end];
  // A sentence may go on in the chunk that follows.
  const [before, lead, carrying, rest, after] = wrapped(cut(part, start, from, to, Math.max(to, end)));
  return html`<p class="text">${before}<mark ref=${carrying ? null : anchor}>${lead}${carrying && html`<strong ref=${anchor}>${carrying}</strong>`}${rest}</mark>${after}</p>`;
}

export function Passage({ reference, onClose }) {
  const { document_id: id, start, end, checked } = reference;
  const [range, setRange] = useState([Math.max(0, start - AROUND), end + AROUND]);
  const [part, setPart] = useState(null);
  const [error, setError] = useState("");
  const dialog = useRef(null);
  const anchor = useRef(null);
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
    if (part && !seen.current && anchor.current) {
      seen.current = true;
      anchor.current.scrollIntoView({ block: "center" });
    }
  }, [part]);

  const shown = part ?? { content: reference.content, start, end, total: null };
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
      ${checked && checked.support < 0.5 && html`<p class="problem">${t("doubt", { what: checked.unsupported.join(", ") })}</p>`}
      ${error && html`<p role="alert" class="problem">${error}</p>`}
      <div class="source" tabindex="0" role="region" aria-label=${reference.name}>
        ${part && part.start > 0 &&
        html`<button type="button" class="plainly" onClick=${() => setRange([Math.max(0, range[0] - 6 * AROUND), range[1]])}>
          ${t("before")}</button>`}
        <${Marked} part=${shown} reference=${reference} anchor=${anchor} />
        ${part && part.end < part.total &&
        html`<button type="button" class="plainly" onClick=${() => setRange([range[0], range[1] + 6 * AROUND])}>
          ${t("after")}</button>`}
      </div>
    </div>
  </dialog>`;
}
