// A space's documents, the newest first: files go in, and each says how far it is.

import { html, useCallback, useEffect, useRef, useState } from "./view.js";
import * as api from "./api.js";
import { Bar } from "./bars.js";
import { explain, number, t } from "./text.js";

const PAGE = 100;
const SHOWN = 50; // of the files that are still to be sent
const LOOK = 700; // milliseconds between two looks at what is being indexed
const UNDER_WAY = ["TODO", "RUNNING"];

/** The server lists the oldest first, so its last pages are read. `pages` of them are shown. */
function useListed(space, onError) {
  const [listed, setListed] = useState({ pages: 2, last: 0, total: null, byPage: {} });
  const load = useCallback(async (pages) => {
    try {
      let { total_pages: last } = await api.documents(space.id, 1, PAGE);
      const byPage = {};
      let total = 0;
      for (let page = last; page > Math.max(0, last - pages); page -= 1) {
        const found = await api.documents(space.id, page, PAGE);
        byPage[page] = found.items.reverse();
        total = found.total_count;
      }
      setListed({ pages, last, total, byPage });
      onError("");
    } catch (failure) {
      onError(explain(failure));
    }
  }, [space.id]);
  useEffect(() => void load(2), [load]);
  const items = Object.keys(listed.byPage).map(Number).sort((a, b) => b - a).flatMap((page) => listed.byPage[page]);
  return { items, total: listed.total, more: listed.last > listed.pages, load: (more = 0) => load(listed.pages + more) };
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
  return html`<dl class="bars"><${Bar} name=${t("RUNNING")} value=${all - left} most=${all || 1} text=${`${number(all - left)} / ${number(all)}`} kind="strong" /></dl>`;
}

function Row({ item, act }) {
  const remove = () => confirm(t("removeIt", { name: item.doc_name })) && act(() => api.deleteDocument(item.id));
  return html`<li class=${item.status}>
    <span class="name">${item.doc_name}</span>
    <span class="state">${t(item.status)}${item.status === "FINISHED" ? ` · ${t("passagesIn", { n: item.chunk_size })}` : ""}</span>
    ${item.status === "FAILED" && html`<button type="button" class="plainly" onClick=${() => act(() => api.syncDocument(item.id))}>${t("retry")}</button>`}
    <button type="button" class="plainly" aria-label=${`${t("remove")}: ${item.doc_name}`} onClick=${remove}>${t("remove")}</button>
    ${item.result && html`<p class="problem">${item.result}</p>`}
  </li>`;
}

function Sending({ one, onReplace, onAgain }) {
  return html`<li class=${one.status}>
    <span class="name">${one.file.name}</span>
    <span class="state">${t(one.status)}${one.status === "SENDING" && one.share > 0 ? ` ${Math.round(100 * one.share)} %` : ""}</span>
    ${one.status === "FAILED" && html`<button type="button" class="plainly" onClick=${one.taken ? onReplace : onAgain}>
      ${t(one.taken ? "replace" : "retry")}</button>`}
    ${one.result && html`<p class="problem">${one.result}</p>`}
  </li>`;
}

export function Documents({ space, onChange }) {
  const [sending, setSending] = useState([]);
  const [error, setError] = useState("");
  const [over, setOver] = useState(false);
  const input = useRef(null);
  const { items, total, more, load } = useListed(space, setError);

  const busy = items.some((item) => UNDER_WAY.includes(item.status));
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(load, LOOK);
    return () => clearInterval(timer);
  }, [busy, total]);
  useEffect(() => void onChange(), [busy]);

  const note = (file, change) => setSending((now) => now.map((one) => (one.file === file ? { ...one, ...change } : one)));
  const put = async (file, replace) => {
    note(file, { status: "SENDING", result: "", taken: false, share: 0 });
    try {
      const made = await api.upload(space.id, file, replace, (share) => note(file, { share }));
      await api.syncDocument(made.id);
      setSending((now) => now.filter((one) => one.file !== file));
    } catch (failure) {
      note(file, { status: "FAILED", result: explain(failure), taken: failure.code === "document_exists" });
    }
  };
  const putAll = async (files) => {
    const names = new Set(files.map((file) => file.name));
    const waiting = files.map((file) => ({ file, status: "TODO", result: "", taken: false, share: 0 }));
    setSending((now) => [...now.filter((one) => !names.has(one.file.name)), ...waiting]);
    for (const file of files) {
      await put(file, false);
      await load();
    }
    onChange();
  };
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
  const again = async (file, replace) => {
    await put(file, replace);
    await load();
    onChange();
  };
  const dropped = (event) => {
    event.preventDefault();
    setOver(false);
    void putAll([...event.dataTransfer.files]);
  };
  return html`<section class="documents" aria-label=${t("documents")}>
    <div class=${over ? "drop over" : "drop"} onDrop=${dropped}
      onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}>
      <p>${t("drop")} <button type="button" class="plainly" onClick=${() => input.current.click()}>${t("choose")}</button></p>
      <p class="quiet">${t("kinds")}</p>
      <input ref=${input} type="file" multiple hidden aria-label=${t("choose")}
        onChange=${(event) => { const files = [...event.target.files]; event.target.value = ""; void putAll(files); }} />
    </div>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    <${Progress} space=${space} busy=${busy} />
    ${total === 0 && sending.length === 0 && !error && html`<p class="empty">${t("noDocuments")}</p>`}
    <ul class="rows files" aria-live="polite">
      ${sending.slice(0, SHOWN).map((one) => html`<${Sending} key=${`file ${one.file.name}`} one=${one}
        onReplace=${() => again(one.file, true)} onAgain=${() => again(one.file, false)} />`)}
      ${sending.length > SHOWN && html`<li class="quiet">${t("andMore", { n: number(sending.length - SHOWN) })}</li>`}
      ${items.map((item) => html`<${Row} key=${item.id} item=${item} act=${act} />`)}
    </ul>
    ${more && html`<button type="button" class="plainly" onClick=${() => load(1)}>
      ${t("more")} (${number(items.length)} / ${number(total)})</button>`}
  </section>`;
}
