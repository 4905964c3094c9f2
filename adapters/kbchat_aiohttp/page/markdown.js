// Text that others wrote becomes elements that can do nothing: markdown without HTML, cleaned, without images.

import MarkdownIt from "./vendor/markdown-it-15.0.3.js";
import DOMPurify from "./vendor/dompurify-3.4.18.js";

const markdown = new MarkdownIt({ html: false, linkify: false, typographer: false }).disable("image");
const ALLOWED = {
  ALLOWED_TAGS: `p br strong em s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 hr table thead tbody tr th td a`.split(" "),
  ALLOWED_ATTR: ["href", "start"],
  ALLOWED_URI_REGEXP: /^https?:/i,
  RETURN_DOM_FRAGMENT: true,
};
const MARK = /\[(\d{1,3})\]/;
const LONG = 6000;

/** Paragraphs, lists and fences of a text, so that a growing answer is rendered only where it grows. */
export function blocks(text) {
  const found = [];
  let open = "";
  let fence = "";
  for (const line of text.split("\n")) {
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1] ?? "";
    if (!fence && !line.trim()) {
      if (open) found.push(open);
      open = "";
      continue;
    }
    if (mark && !fence) fence = mark;
    else if (mark && mark.startsWith(fence)) fence = "";
    open += `${line}\n`;
  }
  if (open) found.push(open);
  return found;
}

/** The elements of one block. `label(n)` names the button of the citation n, or is null where there is none. */
export function render(text, label) {
  if (text.length > LONG) return plain(text);
  const fragment = DOMPurify.sanitize(markdown.render(text), ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const heading of fragment.querySelectorAll("h1,h2,h3,h4,h5,h6")) demote(heading);
  for (const table of fragment.querySelectorAll("table,pre")) table.tabIndex = 0;
  mark(fragment, label);
  return fragment;
}

function plain(text) {
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

function mark(fragment, label) {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (let text of texts) {
    if (text.parentElement?.closest("code,pre,a")) continue;
    for (let found = MARK.exec(text.data); found; found = MARK.exec(text.data)) {
      const named = label(Number(found[1]));
      const after = text.splitText(found.index + found[0].length);
      if (named) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "cite";
        button.dataset.cite = found[1];
        button.setAttribute("aria-label", named);
        button.title = named;
        button.textContent = found[1];
        text.splitText(found.index).replaceWith(button);
      }
      text = after;
    }
  }
}
