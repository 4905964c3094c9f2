// What was asked of a space before: opened, gone on with, or forgotten.

import { html, useCallback, useEffect, useState } from "./view.js";
import * as api from "./api.js";
import { unanswered } from "./talk.js";
import { explain, moment, t } from "./text.js";

const PAGE = 50;

export function Conversations({ space, current, onOpen, onForget }) {
  const [listed, setListed] = useState(null);
  const [error, setError] = useState("");

  const load = useCallback(async (page) => {
    try {
      const found = await api.conversations(space.id, page, PAGE);
      setListed((now) => ({ page, total: found.total_count, items: [...(page > 1 ? now.items : []), ...found.items] }));
      setError("");
    } catch (failure) {
      setError(explain(failure));
    }
  }, [space.id]);
  useEffect(() => void load(1), [load]);

  const act = async (work) => {
    try {
      await work();
    } catch (failure) {
      setError(explain(failure));
    }
  };
  const remove = async (uid) => {
    if (await onForget(uid)) await load(1);
  };
  const items = listed ? [...unanswered(space.id).map((item) => ({ ...item, unfinished: true })), ...listed.items] : [];
  return html`<section class="talks" aria-label=${t("conversations")}>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    ${listed && items.length === 0 && html`<p class="empty">${t("noConversations")}</p>`}
    <ul class="rows">
      ${items.map((item) => html`<li key=${item.conv_uid} aria-current=${item.conv_uid === current ? "true" : null}>
        <button type="button" class="title" onClick=${() => act(() => onOpen(item.conv_uid))}>
          <span>${item.title || t("untitled")}</span>
          <small>${t("questionsIn", { n: Math.ceil(item.turns / 2) })} · <time datetime=${item.gmt_modified}>${moment(item.gmt_modified)}</time>${item.unfinished && ` · ${t("unfinished")}`}</small>
        </button>
        <button type="button" class="plainly" aria-label=${`${t("forgetIt")}: ${item.title || t("untitled")}`}
          onClick=${() => act(() => remove(item.conv_uid))}>${t("forgetIt")}</button>
      </li>`)}
    </ul>
    ${listed && listed.items.length < listed.total &&
    html`<button type="button" class="plainly" onClick=${() => load(listed.page + 1)}>
      ${t("more")} (${listed.items.length} / ${listed.total})</button>`}
  </section>`;
}
