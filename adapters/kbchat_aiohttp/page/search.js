// Passages for a question, with the parts of their scores.

import { html, useState } from "./vendor/htm-preact-3.1.1.js";
import * as api from "./api.js";
import { Passage, Scores } from "./passage.js";
import { explain, t } from "./text.js";

export function Search({ space }) {
  const [query, setQuery] = useState("");
  const [found, setFound] = useState(null);
  const [opened, setOpened] = useState(null);
  const [error, setError] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    if (!query.trim()) return;
    setError("");
    try {
      const answer = await api.retrieve(space.id, query, { top_k: 10 });
      setFound(Array.isArray(answer) ? answer : (answer.chunks ?? answer.items ?? []));
    } catch (failure) {
      setError(explain(failure));
    }
  };
  return html`<section class="search" aria-label=${t("search")}>
    <form class="composer" role="search" onSubmit=${submit}>
      <label class="unseen" for="query">${t("search")}</label>
      <input id="query" type="search" value=${query} placeholder=${t("searchPlaceholder")}
        onInput=${(event) => setQuery(event.target.value)} />
      <button type="submit">${t("search")}</button>
    </form>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    ${found?.length === 0 && html`<p class="quiet" role="status">${t("nothing")}</p>`}
    <ol class="hits">
      ${(found ?? []).map((hit) => html`<li key=${hit.id}>
        <button type="button" class="title" onClick=${() => setOpened(hit)}>${hit.name}</button>
        <p class="excerpt">${hit.content}</p>
        <${Scores} reference=${hit} />
      </li>`)}
    </ol>
    ${opened && html`<${Passage} key=${opened.id} reference=${opened} onClose=${() => setOpened(null)} />`}
  </section>`;
}
