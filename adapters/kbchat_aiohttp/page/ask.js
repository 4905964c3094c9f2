// Questions and answers, which are shown as they come.

import { Component, html, useEffect, useRef, useState } from "./view.js";
import { blocks, elements, plain } from "./markdown.js";
import { Passage } from "./passage.js";
import { CITE, begin, follow, marks, numbered } from "./talk.js";
import { explain, language, t } from "./text.js";

const LONG = 6000; // characters of a block that is rendered only once it has stopped growing
const BUDGET = 8; // milliseconds of rendering at a time: between them the page answers to who uses it

const waiting = new Set();

function draw() {
  const until = performance.now() + BUDGET;
  for (const block of waiting) {
    waiting.delete(block);
    block.fill();
    if (performance.now() > until) break;
  }
  if (waiting.size) setTimeout(draw);
}

function drawSoon(block) {
  if (!waiting.size) setTimeout(draw);
  waiting.add(block);
}

/** One block of an answer. Preact leaves its inside alone; only a changed text is rendered again. */
class Block extends Component {
  shouldComponentUpdate(next) {
    return next.text !== this.props.text || next.version !== this.props.version;
  }
  componentDidMount() {
    drawSoon(this);
  }
  componentDidUpdate() {
    drawSoon(this);
  }
  componentWillUnmount() {
    waiting.delete(this);
  }
  fill() {
    const { text, growing, mark } = this.props;
    const { inside } = this;
    if (!growing || text.length < LONG) {
      this.grown = null;
      inside.replaceChildren(elements(text, mark));
    } else if (this.grown && text.startsWith(this.grown.data)) {
      this.grown.appendData(text.slice(this.grown.length));
    } else {
      inside.replaceChildren(plain(text));
      this.grown = inside.firstChild.firstChild;
    }
  }
  render() {
    return html`<div class="block" ref=${(made) => { this.inside = made; }}></div>`;
  }
}

/** What is cited within a block, in a word: it changes when the block must be rendered again. */
function within(marked, start, text) {
  if (!marked.size) return "";
  const found = [];
  for (const { index } of text.matchAll(CITE)) {
    const { number, reference, checked } = marked.get(start + index) ?? {};
    if (reference) found.push(`${number}:${reference.id}:${checked?.support ?? ""}`);
  }
  return found.join();
}

function Answer({ turn, found, onOpen }) {
  const marked = marks(turn, found);
  const parts = blocks(turn.text);
  const open = (event) => {
    const cite = event.target.closest?.("[data-at]");
    if (!cite) return;
    const block = [...event.currentTarget.querySelectorAll(".block")].indexOf(cite.closest(".block"));
    const { reference, checked } = marked.get(parts[block].start + Number(cite.dataset.at));
    onOpen({ ...reference, checked });
  };
  return html`<div class="answer" aria-label=${t("answer")} role="group" aria-busy=${turn.running} onClick=${open}>
    ${parts.map(({ start, text }, i) => {
      const growing = turn.running && i === parts.length - 1;
      const version = `${language.get()} ${growing} ${within(marked, start, text)}`;
      return html`<${Block} key=${i} text=${text} version=${version} growing=${growing} mark=${(at) => marked.get(start + at)} />`;
    })}
    ${turn.running && html`<p class="quiet pulse">${turn.text ? "" : t("thinking")}</p>`}
  </div>`;
}

function References({ found, onOpen }) {
  return html`<section class="references" aria-label=${t("references")}>
    <h2 class="eyebrow">${t("references")}</h2>
    <ol>
      ${found.map((reference) => html`<li key=${reference.id}>
        <button type="button" disabled=${!reference.content} onClick=${() => onOpen(reference)}>
          <span class="number">${reference.number}</span>
          <span class="what"><strong>${reference.name}</strong><span>${reference.content || t("gone")}</span></span>
          <span class="value" title=${t("score")}>${reference.recall_score.toFixed(2)}</span>
        </button>
      </li>`)}
    </ol>
  </section>`;
}

function Turn({ turn, onOpen, onAgain, newest }) {
  const found = numbered(turn);
  return html`<article class=${newest ? "turn newest" : "turn"} ref=${newest}>
    <p class="question"><span class="unseen">${t("you")}: </span>${turn.question}</p>
    <${Answer} turn=${turn} found=${found} onOpen=${onOpen} />
    ${turn.failure && html`<div class="note"><p role="alert" class="problem">${explain(turn.failure)}</p>
      ${onAgain && html`<button type="button" class="plainly" onClick=${onAgain}>${t("again")}</button>`}</div>`}
    ${found.length > 0 && html`<${References} found=${found} onOpen=${onOpen} />`}
  </article>`;
}

function Welcome({ space, onView }) {
  return html`<div class="welcome">
    <p>${t("welcome", { name: space.name })}</p>
    ${space.document_count
      ? html`<p class="quiet">${t("welcomeHint")}</p>`
      : html`<p class="quiet">${t("noDocuments")} <button type="button" class="plainly" onClick=${() => onView("documents")}>${t("addDocuments")}</button></p>`}
  </div>`;
}

export function Ask({ space, model, talk, change, onView, onForget }) {
  const [question, setQuestion] = useState("");
  const [opened, setOpened] = useState(null);
  const field = useRef(null);
  const newest = useRef(null);
  const { turns, stop } = talk;
  useEffect(() => {
    // Who walks over the tabs by keyboard stays there.
    if (!document.activeElement?.matches("[role=tab]:focus-visible")) field.current?.focus();
  }, [space.id]);
  useEffect(() => {
    // What is new begins at the top, with room for its answer below. The first question is in sight anyway.
    const smooth = stop && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    newest.current?.scrollIntoView({ behavior: smooth ? "smooth" : "instant" });
  }, [talk.uid, turns.length]);

  const submit = async (event) => {
    event.preventDefault();
    const asked = question.trim();
    if (!asked || stop) return;
    setQuestion("");
    await follow(model, talk, asked, change);
    field.current?.focus({ preventScroll: true });
  };
  const again = () => follow(model, { ...talk, turns: turns.slice(0, -1) }, turns.at(-1).question, change);
  const typed = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  return html`<section class="ask" aria-label=${t("ask")}>
    <div class="turns">
      ${turns.length === 0 && html`<${Welcome} space=${space} onView=${onView} />`}
      ${turns.map((turn, i) => html`<${Turn} key=${`${talk.uid} ${i}`} turn=${turn} onOpen=${setOpened}
        onAgain=${i === turns.length - 1 && !stop ? again : null} newest=${i > 0 && i === turns.length - 1 ? newest : null} />`)}
      ${turns.length > 0 && html`<p class=${stop ? "choices later" : "choices"}>
        <button type="button" class="plainly" onClick=${() => { change(() => begin(space.id)); field.current?.focus(); }}>${t("newTalk")}</button>
        <button type="button" class="plainly" onClick=${() => onForget(talk.uid)}>${t("forget")}</button>
      </p>`}
    </div>
    <p class="unseen" role="status">${stop ? t("thinking") : ""}</p>
    <form class="composer" onSubmit=${submit}>
      <label class="unseen" for="question">${t("askPlaceholder")}</label>
      <textarea id="question" ref=${field} rows="1" value=${question} placeholder=${t("askPlaceholder")}
        onInput=${(event) => setQuestion(event.target.value)} onKeyDown=${typed}></textarea>
      ${stop
        ? html`<button type="button" onClick=${() => stop.abort()}>${t("stop")}</button>`
        : html`<button type="submit">${t("send")}</button>`}
    </form>
    ${opened && html`<${Passage} key=${opened.id} reference=${opened} onClose=${() => setOpened(null)} />`}
  </section>`;
}
