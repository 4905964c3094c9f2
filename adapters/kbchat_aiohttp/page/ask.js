// Questions and answers, which are shown as they come.

import { html, Component, useEffect, useRef, useState } from "./vendor/htm-preact-3.1.1.js";
import * as api from "./api.js";
import { blocks, render } from "./markdown.js";
import { Passage } from "./passage.js";
import { explain, t } from "./text.js";

const PAUSE = 60; // milliseconds between two looks at a growing answer

/** References in the order of their numbers: as the citations say, else best first. */
function numbered(turn) {
  const all = turn.references
    .flatMap((document) => document.chunks.map((chunk) => ({ ...chunk, name: document.name })))
    .sort((one, other) => other.recall_score - one.recall_score);
  const found = new Map(all.map((reference, index) => [index + 1, reference]));
  for (const { number, chunk_id: chunk } of turn.citations) {
    const cited = all.find((reference) => chunk !== null && String(reference.id) === String(chunk));
    if (cited) found.set(number, cited);
  }
  return found;
}

/** One block of an answer. Preact leaves its inside alone; only a changed text is rendered again. */
class Block extends Component {
  shouldComponentUpdate(next) {
    return next.text !== this.props.text || next.known !== this.props.known;
  }
  componentDidMount() {
    this.fill();
  }
  componentDidUpdate() {
    this.fill();
  }
  fill() {
    this.base.replaceChildren(render(this.props.text, this.props.label));
  }
  render() {
    return html`<div class="block"></div>`;
  }
}

function Turn({ turn, onOpen }) {
  const found = numbered(turn);
  const label = (n) => (found.has(n) ? t("reference", { n, name: found.get(n).name }) : null);
  const open = (event) => {
    const cite = event.target.closest?.("[data-cite]");
    if (cite) onOpen(found.get(Number(cite.dataset.cite)));
  };
  return html`<article class="turn">
    <p class="question"><span class="unseen">${t("you")}: </span>${turn.question}</p>
    <div class="answer" aria-label=${t("answer")} role="group" aria-busy=${turn.running} onClick=${open}>
      ${blocks(turn.text).map((text, i) => html`<${Block} key=${i} text=${text} known=${found.size} label=${label} />`)}
      ${turn.running && html`<p class="quiet pulse">${turn.text ? "" : t("thinking")}</p>`}
    </div>
    ${turn.note && html`<p role="alert" class="problem">${turn.note}</p>`}
    ${found.size > 0 &&
    html`<section class="references" aria-label=${t("references")}>
      <h2 class="eyebrow">${t("references")}</h2>
      <ol>
        ${[...found].sort(([a], [b]) => a - b).map(([n, reference]) => html`<li key=${n}>
          <button type="button" onClick=${() => onOpen(reference)} aria-label=${label(n)}>
            <span class="number">${n}</span>
            <span class="what"><strong>${reference.name}</strong><span>${reference.content}</span></span>
            <span class="value">${reference.recall_score.toFixed(2)}</span>
          </button>
        </li>`)}
      </ol>
    </section>`}
  </article>`;
}

export function Ask({ space, turns, setTurns }) {
  const [question, setQuestion] = useState("");
  const [opened, setOpened] = useState(null);
  const stopping = useRef(null);
  const field = useRef(null);
  useEffect(() => field.current?.focus(), [space.id]);
  useEffect(() => () => stopping.current?.abort(), [space.id]);

  const running = turns.at(-1)?.running ?? false;
  const submit = async (event) => {
    event.preventDefault();
    const asked = question.trim();
    if (!asked || running) return;
    setQuestion("");
    stopping.current = new AbortController();
    await follow(space, turns, asked, stopping.current.signal, setTurns);
    field.current?.focus();
  };
  const typed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  return html`<section class="ask" aria-label=${t("ask")}>
    <div class="turns">
      ${turns.length === 0 && html`<p class="welcome">${t("askPlaceholder")}</p>`}
      ${turns.map((turn, i) => html`<${Turn} key=${i} turn=${turn} onOpen=${setOpened} />`)}
      ${turns.length > 0 && !running &&
      html`<p><button type="button" class="plainly" onClick=${() => setTurns([])}>${t("forget")}</button></p>`}
    </div>
    <p class="unseen" role="status">${running ? t("thinking") : ""}</p>
    <form class="composer" onSubmit=${submit}>
      <label class="unseen" for="question">${t("ask")}</label>
      <textarea id="question" ref=${field} rows="2" value=${question} placeholder=${t("askPlaceholder")}
        onInput=${(event) => setQuestion(event.target.value)} onKeyDown=${typed}></textarea>
      ${running
        ? html`<button type="button" onClick=${() => stopping.current.abort()}>${t("stop")}</button>`
        : html`<button type="submit">${t("send")}</button>`}
    </form>
    ${opened && html`<${Passage} key=${opened.id} reference=${opened} onClose=${() => setOpened(null)} />`}
  </section>`;
}

/** Ask, and show the answer as it grows: not each delta, but what came within a moment. */
async function follow(space, before, question, signal, show) {
  const turn = { question, text: "", references: [], citations: [], note: "", running: true };
  const messages = before.flatMap((past) => [
    { role: "user", content: past.question },
    ...(past.text ? [{ role: "assistant", content: past.text }] : []),
  ]);
  messages.push({ role: "user", content: question });
  let timer = 0;
  const paint = () => {
    timer = 0;
    show([...before, { ...turn }]);
  };
  paint();
  try {
    for await (const frame of api.ask(space.name, messages, signal)) {
      turn.text += frame.choices?.[0]?.delta?.content ?? "";
      turn.references = frame.references ?? turn.references;
      turn.citations = frame.citations ?? turn.citations;
      timer ||= setTimeout(paint, PAUSE);
    }
  } catch (error) {
    turn.note = error.name === "AbortError" ? t("stopped") : explain(error);
  }
  clearTimeout(timer);
  turn.running = false;
  paint();
}
