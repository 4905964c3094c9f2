// A conversation: its name, its turns, and how it goes on.

import * as api from "./api.js";
import { explain, t } from "./text.js";

const PAUSE = 60; // milliseconds between two looks at a growing answer
const BUSY = 8; // milliseconds of reading deltas without a pause
export const CITE = /\[(\d{1,3})\](?![(:[])/g;
const TAIL = /(?:\s*\[\d{1,3}\])*\s*$/; // of marks, before a mark
const PAIR = /[\uD800-\uDBFF][\uDC00-\uDFFF]/g;

/** A new one. The server knows it by this name once its first question is answered. */
export function begin() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return { uid: `page-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`, turns: [], stop: null };
}

/** One that the server remembers. */
export async function reopen(uid) {
  const kept = await api.conversation(uid);
  const turns = [];
  for (const message of kept.messages) {
    if (message.role === "user") turns.push({ ...EMPTY, question: message.content });
    else turns.push({ ...EMPTY, ...turns.pop(), text: message.content, references: message.references, citations: message.citations });
  }
  return { uid, turns, stop: null };
}

const EMPTY = { question: "", text: "", references: [], citations: [], note: "", running: false };

/** References in the order of their numbers: as the citations say, else best first. */
export function numbered(turn) {
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

/** Each [n] of an answer by its place: what it cites, and what was found when its sentence was checked. */
export function marks(turn, found) {
  const marked = new Map();
  if (!found.size) return marked;
  let characters = 0;
  let before = 0;
  for (const { index, 1: digits } of turn.text.matchAll(CITE)) {
    // The server counts characters, a string here counts some of them twice.
    characters += index - before - (turn.text.slice(before, index).match(PAIR)?.length ?? 0);
    before = index;
    const number = Number(digits);
    const at = characters;
    // A mark stands behind the sentence that it is of, or within it.
    const behind = at - TAIL.exec(turn.text.slice(Math.max(0, index - 200), index))[0].length;
    const own = turn.citations.filter((it) => it.number === number);
    const checked = own.find((it) => it.answer_end === behind) ?? own.find((it) => it.answer_start <= at && at < it.answer_end);
    const reference = found.get(number);
    if (reference?.content) marked.set(index, { number, reference, checked });
  }
  return marked;
}

/**
 * Ask, and show the answer as it grows: not each delta, but what came within a moment.
 * `change(edit)` changes the conversation, which may have been left for another one meanwhile.
 */
export async function follow(model, talk, question, change) {
  const before = talk.turns;
  const turn = { ...EMPTY, question, running: true };
  const stop = new AbortController();
  const messages = before.flatMap((past) => [
    { role: "user", content: past.question },
    ...(past.text ? [{ role: "assistant", content: past.text }] : []),
  ]);
  messages.push({ role: "user", content: question });
  let timer = 0;
  let rest = performance.now() + BUSY;
  const paint = () => {
    timer = 0;
    change((now) => (now.uid === talk.uid ? { ...now, turns: [...before, { ...turn }], stop: turn.running ? stop : null } : now));
  };
  paint();
  try {
    for await (const frame of api.ask(model, messages, talk.uid, stop.signal)) {
      turn.text += frame.choices?.[0]?.delta?.content ?? "";
      turn.references = frame.references ?? turn.references;
      turn.citations = frame.citations ?? turn.citations;
      timer ||= setTimeout(paint, PAUSE);
      if (performance.now() > rest) {
        // Many deltas may come at once: the page must not stand still while they are read.
        await new Promise((resolve) => setTimeout(resolve));
        rest = performance.now() + BUSY;
      }
    }
  } catch (error) {
    turn.note = error.name === "AbortError" ? t("stopped") : explain(error);
  }
  clearTimeout(timer);
  turn.running = false;
  paint();
}
