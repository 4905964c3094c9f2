// A space's documents: files go in, and each says how far it is.

import { html, useCallback, useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import * as api from "./api.js";
import { explain, t } from "./text.js";

const PAGE = 100;
const LOOK = 700; // milliseconds between two looks at what is being indexed
const UNDER_WAY = ["TODO", "RUNNING"];

export function Documents({ space, onChange }) {
  const [listed, setListed] = useState({ items: [], total: 0, page: 1 });
  const [sending, setSending] = useState([]);
  const [error, setError] = useState("");
  const [over, setOver] = useState(false);
  const input = useRef(null);

  const load = useCallback(async () => {
    try {
      const found = await api.documents(space.id, 1, PAGE * listed.page);
      setListed((now) => ({ ...now, items: found.items, total: found.total_count }));
      setError("");
    } catch (failure) {
      setError(explain(failure));
    }
  }, [space.id, listed.page]);
  useEffect(() => void load(), [load]);

  const busy = listed.items.some((item) => UNDER_WAY.includes(item.status));
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(load, LOOK);
    return () => clearInterval(timer);
  }, [busy, load]);

  const put = async (file, replace = false) => {
    const entry = { file, name: file.name, status: "SENDING", result: "", taken: false };
    const note = (change) => setSending((now) => now.map((one) => (one.file === file ? { ...one, ...change } : one)));
    setSending((now) => [...now.filter((one) => one.name !== file.name), entry]);
    try {
      const made = await api.upload(space.id, file, replace);
      await api.syncDocument(made.id);
      setSending((now) => now.filter((one) => one.file !== file));
    } catch (failure) {
      note({ status: "FAILED", result: explain(failure), taken: failure.status === 409 });
    }
    await load();
    onChange();
  };
  const putAll = async (files) => {
    for (const file of files) await put(file);
  };
  const dropped = (event) => {
    event.preventDefault();
    setOver(false);
    void putAll([...event.dataTransfer.files]);
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
  const remove = (item) => confirm(t("removeIt", { name: item.doc_name })) && act(() => api.deleteDocument(item.id));

  return html`<section class="documents" aria-label=${t("documents")}>
    <div class=${over ? "drop over" : "drop"} onDrop=${dropped}
      onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}>
      <p>${t("drop")} <button type="button" class="plainly" onClick=${() => input.current.click()}>${t("choose")}</button></p>
      <input ref=${input} type="file" multiple hidden aria-label=${t("choose")}
        onChange=${(event) => { void putAll([...event.target.files]); event.target.value = ""; }} />
    </div>
    ${error && html`<p role="alert" class="problem">${error}</p>`}
    ${listed.total === 0 && sending.length === 0 && !error && html`<p class="quiet">${t("noDocuments")}</p>`}
    <ul class="files" aria-live="polite">
      ${sending.map((one) => html`<li key=${`file ${one.name}`} class=${one.status}>
        <span class="name">${one.name}</span>
        <span class="state">${t(one.status)}</span>
        ${one.taken && html`<button type="button" class="plainly" onClick=${() => put(one.file, true)}>${t("replace")}</button>`}
        ${one.result && html`<p class="problem">${one.result}</p>`}
      </li>`)}
      ${listed.items.map((item) => html`<li key=${item.id} class=${item.status}>
        <span class="name">${item.doc_name}</span>
        <span class="state">${t(item.status)}${item.status === "FINISHED" ? ` · ${item.chunk_size}` : ""}</span>
        ${item.status === "FAILED" && html`<button type="button" class="plainly" onClick=${() => act(() => api.syncDocument(item.id))}>${t("retry")}</button>`}
        <button type="button" class="plainly" aria-label=${`${t("remove")}: ${item.doc_name}`} onClick=${() => remove(item)}>${t("remove")}</button>
        ${item.result && html`<p class="problem">${item.result}</p>`}
      </li>`)}
    </ul>
    ${listed.items.length < listed.total &&
    html`<button type="button" class="plainly" onClick=${() => setListed((now) => ({ ...now, page: now.page + 1 }))}>
      ${t("more")} (${listed.items.length} / ${listed.total})</button>`}
  </section>`;
}
