// A conversation: its name, its turns, and how it goes on.

import * as api from "./api.js";

const PAUSE = 60; // milliseconds between two looks at a growing answer
const BUSY = 8; // milliseconds of reading deltas without a pause
export const CITE = /\[(\d{1,3})\](?![(:[])/g;
const TAIL = /(?:\s*\[\d{1,3}\])*\s*$/; // of marks, before a mark
const PAIR = /[\uD800-\uDBFF][\uDC00-\uDFFF]/g;

const EMPTY = { question: "", text: "", references: [], citations: [], failure: null, running: false };
const UNFINISHED = "kbchat.unfinished.";
const FORGOTTEN = new DOMException("forgotten", "AbortError");

/** A new one. The server knows it by this name once its first question is answered. */
export function begin(space) {
  const random = crypto.getRandomValues(new Uint8Array(12));
  const uid = `page-${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  return { uid, space, turns: [], stop: null };
}

/** One that the server remembers, with what was not answered to its end, which this tab remembers. */
export async function reopen(uid, space) {
  const left = unfinished(uid);
  const turns = [];
  try {
    for (const message of (await api.conversation(uid)).messages) {
      if (message.role === "user") turns.push({ ...EMPTY, question: message.content });
      else turns.push({ ...EMPTY, ...turns.pop(), text: message.content, references: message.references, citations: message.citations });
    }
  } catch (failure) {
    if (failure.status !== 404 || !left) throw failure;
  }
  for (const { at, turn } of left?.turns ?? []) turns.splice(at, 0, { ...EMPTY, ...turn });
  return { uid, space, turns, stop: null };
}

function unfinished(uid) {
  try {
    return JSON.parse(sessionStorage.getItem(UNFINISHED + uid));
  } catch {
    return null;
  }
}

/** Have this tab remember the questions of a conversation that have no whole answer: the server keeps whole ones only. */
export function keep({ uid, space, turns }) {
  const left = turns.flatMap((turn, at) => {
    const failure = turn.running ? { code: "cut" } : turn.failure;
    return failure ? [{ at, turn: { ...turn, running: false, failure } }] : [];
  });
  if (!left.length) return sessionStorage.removeItem(UNFINISHED + uid);
  const known = left.length < turns.length;
  try {
    sessionStorage.setItem(UNFINISHED + uid, JSON.stringify({ uid, space, known, at: Date.now(), turns: left }));
  } catch {
    // No room: then it is there until the page is left.
  }
  return undefined;
}

/** Have nothing of a conversation left in this tab; `stop` ends what is still being answered in it. */
export function drop(uid, stop) {
  stop?.abort(FORGOTTEN);
  sessionStorage.removeItem(UNFINISHED + uid);
}

/** The same with all conversations of a space. */
export function dropAll(space, stop) {
  stop?.abort(FORGOTTEN);
  for (const left of every()) if (left.space === space) drop(left.uid);
}

/** What this tab remembers of all conversations. */
const every = () =>
  Object.keys(sessionStorage)
    .filter((name) => name.startsWith(UNFINISHED))
    .map((name) => unfinished(name.slice(UNFINISHED.length)))
    .filter((left) => left);

/** The conversations of a space that the server does not know, because no question in them has a whole answer. */
export function unanswered(space) {
  return every()
    .filter((left) => left.space === space && !left.known)
    .sort((one, other) => other.at - one.at)
    .map(({ uid, at, turns }) => ({ conv_uid: uid, title: turns[0].turn.question, turns: 2 * turns.length, gmt_modified: new Date(at).toISOString() }));
}

/** The references with the numbers by which the answer cites them, in their order; parts of one passage share theirs. */
export function numbered(turn) {
  return turn.references
    .flatMap((document) => document.chunks.map((chunk) => ({ ...chunk, name: document.name })))
    .sort((one, other) => one.number - other.number || one.start - other.start);
}

/** Each [n] of an answer by its place: what it cites, and what was found when its sentence was checked. */
export function marks(turn, found) {
  const marked = new Map();
  if (!found.length) return marked;
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
    // The part of the passage that carries the sentence, else its best one.
    const parts = found.filter((it) => it.number === number);
    const reference = parts.find((it) => it.id === checked?.chunk_id) ?? parts.sort((one, other) => other.recall_score - one.recall_score)[0];
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
  const left = () => keep({ ...talk, turns: [...before, turn] });
  const paint = () => {
    timer = 0;
    change((now) => (now.uid === talk.uid ? { ...now, turns: [...before, { ...turn }], stop: turn.running ? stop : null } : now));
  };
  paint();
  addEventListener("pagehide", left);
  left();
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
    const { code, status, message } = error;
    turn.failure = error.name === "AbortError" ? { code: "stopped" } : { code, status, message };
  }
  clearTimeout(timer);
  turn.running = false;
  removeEventListener("pagehide", left);
  if (stop.signal.reason !== FORGOTTEN) left();
  paint();
}
