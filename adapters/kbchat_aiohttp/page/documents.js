// A space's documents, the newest first: files go in, and each says how far it is.

import { html, useCallback, useEffect, useRef, useState } from "./view.js";
import * as api from "./api.js";
import { Bar } from "./bars.js";
import { dropped, useSending } from "./sending.js";
import { explain, number, t } from "./text.js";

const PAGE = 100;
const SHOWN = 50; // of the files that are still to be sent
const LOOK = 700; // milliseconds between two looks at what is being indexed
const UNDER_WAY = ["TODO", "RUNNING"];
const isUnderWay = (item) => UNDER_WAY.includes(item.status);

/**
 * The server lists the oldest first, so its last pages are read: as many as are shown.
 * `look` reads again only those on which something happens.
 */
function useListed(space, onError) {
  const [listed, setListed] = useState({ pages: 2, last: 0, total: null, byPage: {} });
  const now = useRef(listed);
  const looking = useRef(false);
  const load = useCallback(async (pages, wanted = () => true) => {
    try {
      const { total_count: total } = await api.documents(space.id, 1, 1);
      const last = Math.ceil(total / PAGE);
      const byPage = {};
      for (let page = last; page > Math.max(0, last - pages); page -= 1) {
        const old = now.current.byPage[page];
        const stays = old && page < last && !wanted(old);
        byPage[page] = stays ? old : (await api.documents(space.id, page, PAGE)).items.reverse();
      }
      now.current = { pages, last, total, byPage };
      setListed(now.current);
      onError("");
    } catch (failure) {
      onError(explain(failure));
    }
  }, [space.id]);
  const items = Object.keys(listed.byPage).map(Number).sort((a, b) => b - a).flatMap((page) => listed.byPage[page]);
  return {
    items,
    total: listed.total,
    more: listed.last > listed.pages,
    load: (more = 0) => load(now.current.pages + more),
    look: async () => {
      if (looking.current) return;
      looking.current = true;
      await load(now.current.pages, (page) => page.some(isUnderWay));
      looking.current = false;
    },
  };
}

/** How many of the space's documents are in, while some are not. */
function Progress({ space, busy }) {
  const [counts, setCounts] = useState(null);
  useEffect(() => {
    if (!busy) return setCounts(null);
    const look = () => api.stats(space.id).then((found) => setCounts(found.statuses), () => {});
    void look();
    const timer = setInterval(look, LOOK);
    return () => clearInterval(timer);
  }, [busy, space.id]);
  if (!counts) return null;
  const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const left = UNDER_WAY.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  if (!left) return null;
  return html`<dl class="bars bare"><${Bar} name=${t("RUNNING")} value=${all - left} most=${all || 1} text=${`${number(all - left)} / ${number(all)}`} kind="strong" /></dl>`;
}

/** How far one document is; a server that does not index it itself cannot tell. */
function Share({ item }) {
  const share = Math.round(100 * item.progress);
  return html`<span class="track" role="progressbar" aria-label=${item.doc_name} aria-valuenow=${share} aria-valuemin="0" aria-valuemax="100">
    <span class="fill" style=${{ width: `${share}%` }}></span></span>`;
}

function Row({ item, writes, act }) {
  const remove = () => confirm(t("removeIt", { name: item.doc_name })) && act(() => api.deleteDocument(item.id));
  const far = item.progress !== null && item.progress !== undefined;
  return html`<li class=${item.status}>
    <span class="name">${item.doc_name}</span>
    <span class="state">${t(far ? item.stage : item.status)}${item.status === "FINISHED" ? ` · ${t("passagesIn", { n: number(item.chunk_size) })}` : ""}${far ? ` · ${Math.round(100 * item.progress)} %` : ""}</span>
    ${writes && item.status === "FAILED" && html`<button type="button" class="plainly" onClick=${() => act(() => api.syncDocument(item.id))}>${t("retry")}</button>`}
    ${writes && html`<button type="button" class="plainly" aria-label=${`${t("remove")}: ${item.doc_name}`} onClick=${remove}>${t("remove")}</button>`}
    ${far && html`<${Share} item=${item} />`}
    ${item.result && html`<p class="problem">${item.result}</p>`}
  </li>`;
}

function Sending({ one, send }) {
  const taken = one.failure?.code === "document_exists";
  return html`<li class=${one.status}>
    <span class="name">${one.name}</span>
    <span class="state">${t(one.status)}${one.status === "SENDING" && one.share > 0 ? ` · ${Math.round(100 * one.share)} %` : ""}</span>
    ${one.status === "FAILED" && html`<button type="button" class="plainly" onClick=${() => send([{ ...one, replace: taken }])}>
      ${t(taken ? "replace" : "retry")}</button>`}
    ${one.failure && html`<p class="problem">${explain(one.failure)}</p>`}
  </li>`;
}

function Drop({ send, onError }) {
  const [over, setOver] = useState(false);
  const input = useRef(null);
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    try {
      send(await dropped(event.dataTransfer.items));
    } catch (error) {
      onError(explain(error));
    }
  };
  const choose = (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    send(files.map((file) => ({ file, name: file.name })));
  };
  return html`<div class=${over ? "drop over" : "drop"} onDrop=${drop}
    onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}>
    <p>${t("drop")} <button type="button" class="plainly" onClick=${() => input.current.click()}>${t("choose")}</button></p>
    <p class="quiet">${t("kinds")}</p>
    <input ref=${input} type="file" multiple hidden aria-label=${t("choose")} onChange=${choose} />
  </div>`;
}

export function Documents({ space, writes, onChange }) {
  const [error, setError] = useState("");
  const { files, send } = useSending(space);
  const { items, total, more, load, look } = useListed(space, setError);

  const left = files.filter((one) => one.status !== "FAILED").length;
  const failed = files.filter((one) => one.status === "FAILED" && one.failure.code !== "document_exists");
  const busy = left > 0 || items.some(isUnderWay);
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(look, LOOK);
    return () => clearInterval(timer);
  }, [busy]);
  // The last one came in, or is done: how many there are stands elsewhere too.
  useEffect(() => void load().then(onChange), [busy]);

  const act = async (work) => {
    try {
      await work();
    } catch (failure) {
      setError(explain(failure));
      return;
    }
    await load();
    onChange();
  };
  return html`<section class="documents" aria-label=${t("documents")}>
    ${writes ? html`<${Drop} send=${send} onError=${setError} />` : html`<p class="quiet">${t("readOnly")}</p>`}
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    <${Progress} space=${space} busy=${busy} />
    ${total === 0 && files.length === 0 && !error && html`<p class="empty">${t("noDocuments")}</p>`}
    ${failed.length > 1 && html`<p><button type="button" class="plainly" onClick=${() => send(failed)}>
      ${t("retryAll", { n: number(failed.length) })}</button></p>`}
    <ul class="rows files" aria-live="polite">
      ${files.slice(0, SHOWN).map((one) => html`<${Sending} key=${`file ${one.name}`} one=${one} send=${send} />`)}
      ${files.length > SHOWN && html`<li class="quiet">${t("andMore", { n: number(files.length - SHOWN) })}</li>`}
      ${items.map((item) => html`<${Row} key=${item.id} item=${item} writes=${writes} act=${act} />`)}
    </ul>
    ${more && html`<button type="button" class="plainly" onClick=${() => load(1)}>
      ${t("more")} (${number(items.length)} / ${number(total)})</button>`}
  </section>`;
}
