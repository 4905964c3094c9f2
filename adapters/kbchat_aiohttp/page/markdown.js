// Text that others wrote becomes elements that can do nothing: markdown without HTML, cleaned, without images.

import MarkdownIt from "./vendor/markdown-it.js";
import DOMPurify from "./vendor/dompurify.js";
import { t } from "./text.js";

const markdown = new MarkdownIt({ html: false, linkify: false, typographer: false }).disable("image");
const ALLOWED = {
  ALLOWED_TAGS: `p br strong em s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 hr table thead tbody tr th td a`.split(" "),
  ALLOWED_ATTR: ["href", "start"],
  ALLOWED_URI_REGEXP: /^https?:/i,
  RETURN_DOM_FRAGMENT: true,
};
const CITE = /\[\d{1,3}\](?![(:[])/g;
// Stand for a citation while its text is read as markdown: no letter, no space and no sign of any language.
const HELD = /\uE000(\d+)\uE001/;
const LONG = 100_000;
const PIECE = 1500;
const ITEM = /^(?:[-*+]|\d{1,9}[.)]) /;
const PROSE = /^(?! {0,3}(?:[-*+] |\d{1,9}[.)] |[>|#~]|```)| {4}|\t)/;
const SENTENCE = /(?:[.!?](?:\s*\[\d{1,3}\])*\s|[。！？](?:\[\d{1,3}\])*)/g;
const CLOSED = /(`+)[^`]+?\1|(\*\*?|__?|~~)[^*_~]+?\2|\[[^\][]*\](?:\([^()]*\))?/g;
const OPEN = /[`*_[]/;

/**
 * Paragraphs, lists and fences of a text with their places, so that a growing answer is rendered only where it grows.
 * A long list is shown as several, at its items, and a long paragraph, at its sentences.
 */
export function blocks(text) {
  const found = [];
  let open = -1;
  let fence = "";
  let at = 0;
  const close = () => {
    if (open >= 0) found.push(...sentences(open, text.slice(open, at)));
    open = -1;
  };
  for (const line of text.split("\n")) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1] ?? "";
    if (!fence && at - open > PIECE && ITEM.test(line)) close();
    if (!fence && !line.trim()) close();
    else if (open < 0) open = at;
    if (mark && !fence) fence = mark;
    else if (mark && mark.startsWith(fence)) fence = "";
    at += line.length + 1;
  }
  close();
  return found;
}

/** A long paragraph as several: cut behind sentences, where no mark is left open. */
function sentences(start, text) {
  const found = [];
  let from = 0;
  if (text.length > PIECE && PROSE.test(text)) {
    for (const { index, 0: end } of text.matchAll(SENTENCE)) {
      const to = index + end.length;
      if (to - from < PIECE || OPEN.test(text.slice(from, to).replace(CLOSED, ""))) continue;
      found.push({ start: start + from, text: text.slice(from, to) });
      from = to;
    }
  }
  if (from < text.length) found.push({ start: start + from, text: text.slice(from) });
  return found;
}

/** The elements of one block. `mark(at)` is the citation at that place of the block, or undefined. */
export function elements(text, mark) {
  if (text.length > LONG) return plain(text);
  const held = [];
  const ready = text.replace(CITE, (whole, at) => `\uE000${held.push({ whole, at }) - 1}\uE001`);
  const fragment = DOMPurify.sanitize(markdown.render(ready), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const heading of fragment.querySelectorAll("h1,h2,h3,h4,h5,h6")) demote(heading);
  for (const wide of fragment.querySelectorAll("table,pre")) wide.tabIndex = 0;
  for (const label of fragment.querySelectorAll("th:empty")) label.replaceWith(document.createElement("td"));
  cite(fragment, held, mark);
  return fragment;
}

/** A text as it is. */
export function plain(text) {
  const fragment = document.createDocumentFragment();
  const paragraph = document.createElement("p");
  paragraph.className = "plain";
  paragraph.textContent = text;
  fragment.append(paragraph);
  return fragment;
}

/** A heading within an answer is no heading of the page. */
function demote(heading) {
  const paragraph = document.createElement("p");
  paragraph.className = "heading";
  paragraph.append(...heading.childNodes);
  heading.replaceWith(paragraph);
}

function cite(fragment, held, mark) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (let text of texts) {
    const inert = text.parentElement?.closest("code,pre,a");
    for (let found = HELD.exec(text.data); found; found = HELD.exec(text.data)) {
      const after = text.splitText(found.index + found[0].length);
      const { whole = "", at } = held[Number(found[1])] ?? {};
      const marked = inert ? undefined : mark(at);
      text.splitText(found.index).replaceWith(marked ? button(marked, at) : whole);
      text = after;
    }
  }
}

function button({ number, reference, checked }, at) {
  const made = document.createElement("button");
  const doubt = checked && checked.support < 0.5;
  const named = t("reference", { n: number, name: reference.name });
  made.type = "button";
  made.className = doubt ? "cite doubt" : "cite";
  made.dataset.at = at;
  made.title = doubt ? `${named}. ${t("doubt", { what: checked.unsupported.join(", ") })}` : named;
  made.setAttribute("aria-label", made.title);
  made.textContent = number;
  return made;
}
