// What a space is called and what it is for: changed, or deleted with all that is in it.

import { html, useEffect, useRef, useState } from "./view.js";
import * as api from "./api.js";
import { explain, number, t } from "./text.js";

export function Properties({ space, onChange, onDelete, onClose }) {
  const [name, setName] = useState(space.name);
  const [desc, setDesc] = useState(space.desc);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const dialog = useRef(null);
  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
  }, []);
  const act = async (work, done) => {
    setBusy(true);
    setError("");
    try {
      await work();
      dialog.current.close();
      await done();
    } catch (failure) {
      setError(explain(failure));
      setBusy(false);
    }
  };
  const save = (event) => {
    event.preventDefault();
    void act(() => api.updateSpace(space.id, { name: name.trim(), desc: desc.trim() }), onChange);
  };
  const remove = () => {
    const sure = confirm(t("deleteSpaceSure", { name: space.name, n: number(space.document_count ?? 0) }));
    if (sure) void act(() => api.deleteSpace(space.id), onDelete);
  };
  return html`<dialog ref=${dialog} class="properties" aria-labelledby="properties-title" onClose=${onClose}
    onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    <form class="fields" onSubmit=${save}>
      <h2 id="properties-title">${t("properties")}</h2>
      <label for="properties-name">${t("name")}</label>
      <input id="properties-name" required autocomplete="off" value=${name} onInput=${(event) => setName(event.target.value)} />
      <label for="properties-desc">${t("description")}</label>
      <textarea id="properties-desc" rows="4" value=${desc} onInput=${(event) => setDesc(event.target.value)}></textarea>
      ${error && html`<p role="alert" class="problem">${error}</p>`}
      <p class="actions">
        <button type="button" class="plainly danger" disabled=${busy} onClick=${remove}>${t("deleteSpace")}</button>
        <button type="button" class="plainly" onClick=${() => dialog.current.close()}>${t("cancel")}</button>
        <button type="submit" disabled=${busy || !name.trim()}>${t("save")}</button>
      </p>
    </form>
  </dialog>`;
}
