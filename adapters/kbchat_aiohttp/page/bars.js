// Numbers as bars, with the number beside them.

import { html } from "./view.js";

/** One number. `value` up to `most` fills the bar; `more` is drawn lighter behind it; `kind` is a class. */
export function Bar({ name, value, most = 1, more = null, text = null, note = "", kind = "" }) {
  const share = (of) => `${(100 * Math.max(0, Math.min(1, of / most))).toFixed(1)}%`;
  return html`<div class=${`bar ${kind}`}>
    <dt>${name}</dt>
    <dd>
      <span class="track" aria-hidden="true">
        ${more !== null && html`<span class="more" style=${{ width: share(more) }}></span>`}
        <span class="fill" style=${{ width: share(value) }}></span>
      </span>
      <span class="value">${text ?? value.toFixed(2)}</span>
      ${note && html`<small>${note}</small>`}
    </dd>
  </div>`;
}

/** What speaks for and against, from the middle to the right and to the left. */
export function Balance({ name, value, most, note }) {
  const width = `${(50 * Math.min(1, Math.abs(value) / most)).toFixed(1)}%`;
  const side = value < 0 ? { right: "50%", width } : { left: "50%", width };
  return html`<div class="bar balance">
    <dt>${name}</dt>
    <dd>
      <span class="track" aria-hidden="true"><span class=${value < 0 ? "fill against" : "fill"} style=${side}></span></span>
      <span class="value">${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}</span>
      ${note && html`<small>${note}</small>`}
    </dd>
  </div>`;
}
