// The page: spaces at its side, and what can be done with the chosen one.

import { html, render, useCallback, useEffect, useRef, useState } from "./view.js";
import * as api from "./api.js";
import { Ask } from "./ask.js";
import { Conversations } from "./conversations.js";
import { Documents } from "./documents.js";
import { Search } from "./search.js";
import { Properties } from "./space.js";
import { begin, drop, dropAll, reopen } from "./talk.js";
import { explain, language, number, t } from "./text.js";

const VIEWS = ["ask", "conversations", "documents", "search"];
const THEME = "kbchat.theme";
const PLACE = /^#(\d+)(?:\/(.+))?$/;

function Key({ problem, onKey }) {
  const [value, setValue] = useState("");
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    api.key.set(value.trim());
    onKey();
  };
  return html`<main class="gate" id="content">
    <form onSubmit=${submit}>
      <p class="brand">kbchat</p>
      <h1>${t("keyTitle")}</h1>
      ${problem && html`<p role="alert" class="problem">${t("keyRefused", { why: problem })}</p>`}
      <label for="key">${t("keyLabel")}</label>
      <input id="key" ref=${field} type="password" autocomplete="off" required value=${value} onInput=${(event) => setValue(event.target.value)} />
      <p class="quiet">${t("keyHint")}</p>
      <button type="submit">${t("keyUse")}</button>
    </form>
  </main>`;
}

function Side({ spaces, chosen, writes, onChoose, onCreate, onLeave }) {
  const [name, setName] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    if (name.trim() && (await onCreate(name.trim()))) setName("");
  };
  return html`<nav class="side" aria-label=${t("spaces")}>
    <div>
      <p class="brand">kbchat</p>
      <p class="quiet">${t("tagline")}</p>
    </div>
    <h2 class="eyebrow">${t("spaces")}</h2>
    <ul>
      ${spaces.map((space) => html`<li key=${space.id}>
        <button type="button" aria-current=${space.id === chosen?.id ? "true" : null} onClick=${() => onChoose(space.id)}>
          <span>${space.name}</span>
          <small>${t("documentsIn", { n: number(space.document_count ?? 0) })}</small>
        </button>
      </li>`)}
    </ul>
    ${writes && html`<form onSubmit=${submit}>
      <label class="unseen" for="space-name">${t("spaceName")}</label>
      <input id="space-name" value=${name} placeholder=${t("newSpace")} onInput=${(event) => setName(event.target.value)} />
      <button type="submit">${t("create")}</button>
    </form>`}
    <${Switches} onLeave=${onLeave} />
  </nav>`;
}

function Switches({ onLeave }) {
  const theme = () => {
    const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    localStorage.setItem(THEME, next);
    document.documentElement.dataset.theme = next;
  };
  const speak = () => {
    language.set(language.get() === "zh" ? "en" : "zh");
    dispatchEvent(new Event("kbchat:language"));
  };
  return html`<p class="switches">
    <button type="button" class="plainly" lang=${language.get() === "zh" ? "en" : "zh-Hans"} onClick=${speak}>${t("language")}</button>
    <button type="button" class="plainly" onClick=${theme}>${t("theme")}</button>
    ${api.key.get() && html`<button type="button" class="plainly" onClick=${onLeave}>${t("keyForget")}</button>`}
  </p>`;
}

function Space({ space, model, writes, talk, change, onChange, onDelete }) {
  const [editing, setEditing] = useState(false);
  const [view, setView] = useState(space.document_count || talk.turns.length ? "ask" : "documents");
  const walk = (event) => {
    const at = VIEWS.indexOf(view);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1 + VIEWS.length, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = VIEWS[next % VIEWS.length];
    setView(name);
    document.getElementById(`tab-${name}`).focus();
  };
  const open = async (uid) => {
    if (uid !== talk.uid) {
      const found = await reopen(uid, space.id);
      talk.stop?.abort();
      change(() => found);
    }
    setView("ask");
  };
  const forget = async (uid) => {
    if (!confirm(t("forgetSure"))) return false;
    try {
      await api.forget(uid);
    } catch (failure) {
      // What was stopped or failed was never kept there.
      if (failure.status !== 404) throw failure;
    }
    drop(uid, uid === talk.uid ? talk.stop : null);
    change((now) => (now.uid === uid ? begin(space.id) : now));
    return true;
  };
  return html`<main id="content">
    <header>
      <div class="title">
        <h1>${space.name}</h1>
        ${writes && html`<button type="button" class="plainly" aria-haspopup="dialog" aria-label=${`${t("edit")}: ${space.name}`}
          onClick=${() => setEditing(true)}>${t("edit")}</button>`}
      </div>
      ${space.desc && html`<p class="quiet about">${space.desc}</p>`}
      <div role="tablist" aria-label=${space.name} onKeyDown=${walk}>
        ${VIEWS.map((name) => html`<button key=${name} type="button" role="tab" id=${`tab-${name}`} aria-controls="view"
          aria-selected=${String(name === view)} tabindex=${name === view ? 0 : -1} onClick=${() => setView(name)}>${t(name)}</button>`)}
      </div>
    </header>
    <div id="view" role="tabpanel" class=${view} aria-labelledby=${`tab-${view}`}>
      ${view === "ask" && html`<${Ask} space=${space} model=${model} talk=${talk} change=${change} onView=${setView} onForget=${forget} />`}
      ${view === "conversations" && html`<${Conversations} space=${space} current=${talk.uid} onOpen=${open} onForget=${forget} />`}
      ${view === "documents" && html`<${Documents} space=${space} writes=${writes} onChange=${onChange} />`}
      ${view === "search" && html`<${Search} space=${space} />`}
    </div>
    ${editing && html`<${Properties} space=${space} onChange=${onChange} onDelete=${onDelete} onClose=${() => setEditing(false)} />`}
  </main>`;
}

/** Spaces, what the key may do, whether one is wanted, and what went wrong; `load` looks again. */
function useSpaces() {
  const [writes, setWrites] = useState(true);
  const [spaces, setSpaces] = useState(null);
  const [locked, setLocked] = useState(null);
  const [error, setError] = useState("");
  const load = useCallback(async () => {
    try {
      const found = await api.spaces();
      // Where it cannot be told, the server says no when it comes to it.
      setWrites((await api.role().catch(() => "")) !== "reader");
      setSpaces(found);
      setLocked(null);
      setError("");
    } catch (failure) {
      if (failure.status !== 401) setError(explain(failure));
    }
  }, []);
  useEffect(() => {
    const refused = (event) => setLocked(api.key.get() ? event.detail.message : "");
    addEventListener("kbchat:key", refused);
    void load();
    return () => removeEventListener("kbchat:key", refused);
  }, [load]);
  return { spaces, writes, locked, error, setError, load };
}

function App() {
  const { spaces, writes, locked, error, setError, load } = useSpaces();
  const [place] = useState(() => PLACE.exec(location.hash));
  const [chosen, setChosen] = useState(Number(place?.[1] ?? 0));
  const [talks, setTalks] = useState({});
  const [, speak] = useState(0);
  useEffect(() => {
    const spoken = () => speak((n) => n + 1);
    addEventListener("kbchat:language", spoken);
    return () => removeEventListener("kbchat:language", spoken);
  }, []);
  document.documentElement.lang = language.get() === "zh" ? "zh-Hans" : "en";

  const space = spaces?.find((one) => one.id === chosen) ?? spaces?.[0];
  const change = useCallback((id, edit) => setTalks((now) => ({ ...now, [id]: edit(now[id]) })), []);
  const talk = space && talks[space.id];
  useEffect(() => {
    if (!space || talk) return;
    // The address names the conversation that was open when the page was left.
    const uid = space.id === Number(place?.[1]) && place[2] ? decodeURIComponent(place[2]) : "";
    (uid ? reopen(uid, space.id) : Promise.reject(new Error("none"))).catch(() => begin(space.id)).then((found) => change(space.id, () => found));
  }, [space, talk]);
  const address = talk && `#${space.id}${talk.turns.length ? `/${encodeURIComponent(talk.uid)}` : ""}`;
  useEffect(() => {
    if (address) history.replaceState(null, "", address);
  }, [address]);

  const create = async (name) => {
    try {
      const made = await api.createSpace(name);
      await load();
      setChosen(made.id);
      return true;
    } catch (failure) {
      setError(explain(failure));
      return false;
    }
  };
  const deleted = async ({ id }) => {
    await load();
    dropAll(id, talks[id]?.stop);
    setTalks(({ [id]: _, ...others }) => others);
  };
  const leave = () => {
    api.key.set("");
    location.replace(location.pathname);
  };
  // Spaces of several owners may share a name: then the id tells them apart.
  const named = space && spaces.filter((one) => one.name === space.name).length === 1;
  const model = space && `kb/${named ? space.name : space.id}`;
  // A locked page keeps what is behind it: nothing that was asked or typed is lost when a key is revoked.
  return html`<div>
    ${locked !== null && html`<${Key} problem=${locked} onKey=${load} />`}
    <div class="frame" hidden=${locked !== null}>
      <a class="unseen" href="#content" onClick=${(event) => { event.preventDefault(); document.querySelector("main:not(.gate) [tabindex='0']")?.focus(); }}>${t("skip")}</a>
      <${Side} spaces=${spaces ?? []} chosen=${space} writes=${writes} onChoose=${setChosen} onCreate=${create} onLeave=${leave} />
      <div class="stage">
        ${error && html`<p class="trouble"><span role="alert" class="problem">${error}</span>
          <button type="button" class="plainly" onClick=${load}>${t("retry")}</button></p>`}
        ${spaces?.length === 0 && html`<main class="gate first"><h1>${t("tagline")}</h1><p class="empty">${t(writes ? "noSpaces" : "noSpacesRead")}</p></main>`}
        ${talk && html`<${Space} key=${space.id} space=${space} model=${model} writes=${writes} talk=${talk} onChange=${load} onDelete=${() => deleted(space)}
          change=${(edit) => change(space.id, edit)} />`}
      </div>
    </div>
  </div>`;
}

const kept = localStorage.getItem(THEME);
if (kept) document.documentElement.dataset.theme = kept;
render(html`<${App} />`, document.getElementById("app"));
