// Passages for a question, and how they were found: every stage's scores as bars, what was cut and why, and the time.

import { html, useState } from "./view.js";
import * as api from "./api.js";
import { Balance, Bar } from "./bars.js";
import { Passage } from "./passage.js";
import { explain, t } from "./text.js";

const AMOUNTS = [3, 5, 10, 30];
const FEW = 12; // of what was cut are shown until more is asked for
const LINE = 0.5;

const rank = (place) => (place ? `#${place.rank}` : "");

/** All stages of one candidate. A search's own score stands where the stage after it did not come to it. */
function Stages({ it, most }) {
  const words = it.lexical ?? null;
  return html`<dl class="bars">
    ${words !== null && html`<${Bar} name=${t("lexical")} value=${words} note=${rank(it.lexical_search)} />`}
    ${it.dense !== null
      ? html`<${Bar} name=${t("dense")} value=${it.dense} note=${rank(it.dense_search)} />`
      : it.dense_search && html`<${Bar} name=${t("dense")} value=${it.dense_search.score} note=${rank(it.dense_search)} />`}
    ${it.sentence !== null && html`<${Bar} name=${t("sentence")} value=${it.sentence} />`}
    ${it.fused && html`<${Bar} name=${t("fused")} value=${it.fused.score} more=${it.lifted.score} most=${most}
      note=${it.lifted.score > it.fused.score ? t("lifted", { to: it.lifted.score.toFixed(2) }) : rank(it.fused)} />`}
    ${!it.fused && it.promise && html`<${Bar} name=${t("promise")} value=${it.promise.score} most=${most} note=${rank(it.promise)} />`}
    ${it.recall_score !== null && html`<${Bar} name=${t("score")} value=${it.recall_score} kind="strong" />`}
  </dl>`;
}

function Candidate({ it, most, onOpen }) {
  return html`<li>
    <div>
      <p class="head">
        ${it.name === null
          ? html`<span class="title">${t("goneChunk", { n: it.chunk_id })}</span>`
          : html`<button type="button" class="title" onClick=${() => onOpen(it)}>${it.name}</button>`}
        ${it.cut && html`<span class="chip">${t(`cut_${it.cut}`)}</span>`}
      </p>
      <p class="excerpt">${it.content}</p>
    </div>
    <${Stages} it=${it} most=${most} />
  </li>`;
}

function Verdict({ trace }) {
  const here = trace.confidence >= LINE;
  const part = (clue) => clue.value * clue.weight;
  const most = Math.max(Math.abs(trace.offset), ...trace.clues.map((clue) => Math.abs(part(clue))), 1);
  const { total, ...stages } = trace.timings;
  const spent = Object.entries(stages).filter(([, seconds]) => seconds >= 0.00001);
  const longest = Math.max(...spent.map(([, seconds]) => seconds));
  const ms = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.01 ? 2 : 0)} ms`;
  const { weighing } = trace;
  return html`<div class="verdict">
    <p class="lead">${here ? t("isHere") : t("isNotHere")}</p>
    <dl class="bars confidence"><${Bar} name=${t("confidence")} value=${trace.confidence} kind="strong lined" note=${t("line")} /></dl>
    <details>
      <summary>${t("why")}</summary>
      <dl class="bars">
        <${Balance} name=${t("clue_offset")} value=${trace.offset} most=${most} />
        ${trace.clues.map((clue) => html`<${Balance} key=${clue.name} name=${t(`clue_${clue.name}`)} value=${part(clue)} most=${most}
          note=${`${clue.value.toFixed(2)} × ${clue.weight}`} />`)}
      </dl>
    </details>
    <details>
      <summary>${t("time", { ms: ms(total) })}</summary>
      <dl class="bars">
        ${spent.map(([name, seconds]) => html`<${Bar} key=${name} name=${t(`stage_${name}`)} value=${seconds} most=${longest} text=${ms(seconds)} />`)}
      </dl>
    </details>
    ${weighing && html`<p class="quiet">${t("formula", weighing)}</p>`}
  </div>`;
}

function Cut({ cut, most, onOpen }) {
  const [all, setAll] = useState(false);
  const reasons = new Map();
  for (const it of cut) reasons.set(it.cut, (reasons.get(it.cut) ?? 0) + 1);
  return html`<section class="cut" aria-label=${t("cut")}>
    <h2 class="eyebrow">${t("cut")}</h2>
    <ul class="reasons">
      ${[...reasons].map(([why, n]) => html`<li key=${why}><span class="chip">${t(`cut_${why}`)}</span> ${n} · <span class="quiet">${t(`why_${why}`)}</span></li>`)}
    </ul>
    <ol class="hits">
      ${cut.slice(0, all ? cut.length : FEW).map((it) => html`<${Candidate} key=${it.chunk_id} it=${it} most=${most} onOpen=${onOpen} />`)}
    </ol>
    ${!all && cut.length > FEW &&
    html`<button type="button" class="plainly" onClick=${() => setAll(true)}>${t("more")} (${FEW} / ${cut.length})</button>`}
  </section>`;
}

export function Search({ space }) {
  const [query, setQuery] = useState("");
  const [amount, setAmount] = useState(5);
  const [trace, setTrace] = useState(null);
  const [opened, setOpened] = useState(null);
  const [error, setError] = useState("");
  const look = async (top_k) => {
    if (!query.trim()) return;
    setError("");
    try {
      setTrace((await api.search(space.id, query, { top_k })).trace);
    } catch (failure) {
      setError(explain(failure));
    }
  };
  const submit = (event) => {
    event.preventDefault();
    void look(amount);
  };
  const choose = (event) => {
    setAmount(Number(event.target.value));
    if (trace) void look(Number(event.target.value));
  };
  const candidates = trace?.candidates ?? [];
  const most = Math.max(1, ...candidates.map((it) => it.lifted?.score ?? 0));
  const cut = candidates.filter((it) => it.cut);
  const open = (it) => setOpened({ ...it, id: it.chunk_id });
  return html`<section class="search" aria-label=${t("search")}>
    <form class="composer" role="search" onSubmit=${submit}>
      <label class="unseen" for="query">${t("searchPlaceholder")}</label>
      <input id="query" type="search" value=${query} placeholder=${t("searchPlaceholder")}
        onInput=${(event) => setQuery(event.target.value)} />
      <select aria-label=${t("amount")} value=${amount} onChange=${choose}>
        ${AMOUNTS.map((n) => html`<option key=${n} value=${n}>${n}</option>`)}
      </select>
      <button type="submit">${t("search")}</button>
    </form>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    ${!trace && !error && html`<p class="empty">${t("searchHint")}</p>`}
    <div role="status">${trace && candidates.length === 0 && html`<p class="empty">${t("nothing")}</p>`}
      ${candidates.length > 0 && html`<${Verdict} trace=${trace} />`}</div>
    <ol class="hits">
      ${candidates.filter((it) => !it.cut).map((it) => html`<${Candidate} key=${it.chunk_id} it=${it} most=${most} onOpen=${open} />`)}
    </ol>
    ${cut.length > 0 && html`<${Cut} cut=${cut} most=${most} onOpen=${open} />`}
    ${opened && html`<${Passage} key=${opened.id} reference=${opened} onClose=${() => setOpened(null)} />`}
  </section>`;
}
