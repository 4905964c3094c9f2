// The page: spaces at its side, and what can be done with the chosen one.

import { html, render, useCallback, useEffect, useState } from "./vendor/htm-preact-3.1.1.js";
import * as api from "./api.js";
import { Ask } from "./ask.js";
import { Documents } from "./documents.js";
import { Search } from "./search.js";
import { explain, language, t } from "./text.js";

const VIEWS = ["ask", "documents", "search"];
const THEME = "kbchat.theme";

function Key({ problem, onKey }) {
  const [value, setValue] = useState("");
  const submit = (event) => {
    event.preventDefault();
    api.key.set(value.trim());
    onKey();
  };
  return html`<main class="gate" id="content">
    <form onSubmit=${submit}>
      <h1>${t("keyTitle")}</h1>
      ${problem && html`<p role="alert" class="problem">${t("keyRefused", { why: problem })}</p>`}
      <label for="key">${t("keyLabel")}</label>
      <input id="key" type="password" autocomplete="off" required value=${value} onInput=${(event) => setValue(event.target.value)} />
      <p class="quiet">${t("keyHint")}</p>
      <button type="submit">${t("keyUse")}</button>
    </form>
  </main>`;
}

function Side({ spaces, chosen, onChoose, onCreate }) {
  const [name, setName] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    if (name.trim() && (await onCreate(name.trim()))) setName("");
  };
  return html`<nav class="side" aria-label=${t("spaces")}>
    <p class="brand">kbchat</p>
    <p class="quiet">${t("tagline")}</p>
    <h2 class="eyebrow">${t("spaces")}</h2>
    <ul>
      ${spaces.map((space) => html`<li key=${space.id}>
        <button type="button" aria-current=${space.id === chosen?.id ? "true" : null} onClick=${() => onChoose(space.id)}>
          <span>${space.name}</span>
          <small>${t("documentsIn", { n: space.document_count ?? 0 })}</small>
        </button>
      </li>`)}
    </ul>
    <form onSubmit=${submit}>
      <label class="unseen" for="space-name">${t("spaceName")}</label>
      <input id="space-name" value=${name} placeholder=${t("newSpace")} onInput=${(event) => setName(event.target.value)} />
      <button type="submit">${t("create")}</button>
    </form>
    <${Switches} />
  </nav>`;
}

function Switches() {
  const theme = () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
    localStorage.setItem(THEME, dark ? "light" : "dark");
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  };
  const speak = () => {
    language.set(language.get() === "zh" ? "en" : "zh");
    dispatchEvent(new Event("kbchat:language"));
  };
  return html`<p class="switches">
    <button type="button" class="plainly" onClick=${speak}>${t("language")}</button>
    <button type="button" class="plainly" onClick=${theme}>${t("theme")}</button>
  </p>`;
}

function Space({ space, onChange }) {
  const [view, setView] = useState(space.document_count ? "ask" : "documents");
  const [turns, setTurns] = useState([]);
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length];
    setView(next);
    document.getElementById(`tab-${next}`).focus();
  };
  return html`<main id="content">
    <header>
      <h1>${space.name}</h1>
      <div role="tablist" aria-label=${space.name} onKeyDown=${walk}>
        ${VIEWS.map((name) => html`<button key=${name} type="button" role="tab" id=${`tab-${name}`} aria-controls="view"
          aria-selected=${String(name === view)} tabindex=${name === view ? 0 : -1} onClick=${() => setView(name)}>${t(name)}</button>`)}
      </div>
    </header>
    <div id="view" role="tabpanel" aria-labelledby=${`tab-${view}`}>
      ${view === "ask" && html`<${Ask} space=${space} turns=${turns} setTurns=${setTurns} />`}
      ${view === "documents" && html`<${Documents} space=${space} onChange=${onChange} />`}
      ${view === "search" && html`<${Search} space=${space} />`}
    </div>
  </main>`;
}

function App() {
  const [spaces, setSpaces] = useState(null);
  const [chosen, setChosen] = useState(Number(location.hash.slice(1)) || 0);
  const [locked, setLocked] = useState(null);
  const [error, setError] = useState("");
  const [, speak] = useState(0);

  const load = useCallback(async () => {
    try {
      setSpaces(await api.spaces());
      setLocked(null);
      setError("");
    } catch (failure) {
      if (failure.status !== 401) setError(explain(failure));
    }
  }, []);
  useEffect(() => {
    const refused = (event) => setLocked(api.key.get() ? event.detail.message : "");
    const spoken = () => speak((n) => n + 1);
    addEventListener("kbchat:key", refused);
    addEventListener("kbchat:language", spoken);
    void load();
    return () => {
      removeEventListener("kbchat:key", refused);
      removeEventListener("kbchat:language", spoken);
    };
  }, [load]);
  document.documentElement.lang = language.get() === "zh" ? "zh-Hans" : "en";

  const choose = (id) => {
    setChosen(id);
    history.replaceState(null, "", `#${id}`);
  };
  const create = async (name) => {
    try {
      const made = await api.createSpace(name);
      await load();
      choose(made.id);
      return true;
    } catch (failure) {
      setError(explain(failure));
      return false;
    }
  };
  const space = spaces?.find((one) => one.id === chosen) ?? spaces?.[0];
  // A locked page keeps what is behind it: nothing that was asked or typed is lost when a key is revoked.
  return html`<div>
    ${locked !== null && html`<${Key} problem=${locked} onKey=${load} />`}
    <div class="frame" hidden=${locked !== null}>
      <a class="unseen" href="#content" onClick=${(event) => { event.preventDefault(); document.querySelector("main:not(.gate) button")?.focus(); }}>${t("skip")}</a>
      <${Side} spaces=${spaces ?? []} chosen=${space} onChoose=${choose} onCreate=${create} />
      <div class="stage">
        ${error && html`<p role="alert" class="problem">${error}</p>`}
        ${spaces?.length === 0 && html`<main class="gate"><h1>${t("tagline")}</h1><p class="quiet">${t("noSpaces")}</p></main>`}
        ${space && html`<${Space} key=${space.id} space=${space} onChange=${load} />`}
      </div>
    </div>
  </div>`;
}

const kept = localStorage.getItem(THEME);
if (kept) document.documentElement.dataset.theme = kept;
render(html`<${App} />`, document.getElementById("app"));
