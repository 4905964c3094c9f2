// Files on their way into a space, whatever view is looked at: a few at a time, in the order they were given.

import * as api from "./api.js";
import { useEffect, useState } from "./view.js";

const AT_ONCE = 3;
const STOPS = [0, 401]; // with the server away or the key refused, what waits would only fail as well
const outboxes = new Map();

const stay = (event) => event.preventDefault();

class Outbox {
  constructor(space) {
    this.space = space;
    this.files = [];
    this.lanes = 0;
    this.listeners = new Set();
  }
  tell() {
    const busy = [...outboxes.values()].some((one) => one.lanes);
    (busy ? addEventListener : removeEventListener)("beforeunload", stay);
    for (const listener of this.listeners) listener(this.files);
  }
  note(name, change) {
    this.files = this.files.map((one) => (one.name === name ? { ...one, ...change } : one));
    this.tell();
  }
  send(files) {
    const names = new Set(files.map(({ name }) => name));
    const waiting = files.map((one) => ({ replace: false, ...one, status: "TODO", failure: null, share: 0 }));
    this.files = [...this.files.filter((one) => !names.has(one.name)), ...waiting];
    for (let lane = this.lanes; lane < AT_ONCE; lane += 1) void this.work();
    this.tell();
  }
  async work() {
    this.lanes += 1;
    for (let next = this.next(); next; next = this.next()) await this.put(next);
    this.lanes -= 1;
    this.tell();
  }
  next() {
    return this.files.find((one) => one.status === "TODO");
  }
  async put({ name, file, replace }) {
    this.note(name, { status: "SENDING" });
    try {
      const made = await api.upload(this.space, file, name, replace, (share) => this.note(name, { share }));
      await api.syncDocument(made.id);
      this.files = this.files.filter((one) => one.name !== name);
      this.tell();
    } catch (failure) {
      this.note(name, { status: "FAILED", failure });
      if (!STOPS.includes(failure.status)) return;
      this.files = this.files.map((one) => (one.status === "TODO" ? { ...one, status: "FAILED", failure } : one));
      this.tell();
    }
  }
}

/** What is on its way into a space, and how more is sent: `{ file, name, replace }` each. */
export function useSending(space) {
  if (!outboxes.has(space.id)) outboxes.set(space.id, new Outbox(space.id));
  const outbox = outboxes.get(space.id);
  const [files, setFiles] = useState(outbox.files);
  useEffect(() => {
    outbox.listeners.add(setFiles);
    setFiles(outbox.files);
    return () => outbox.listeners.delete(setFiles);
  }, [outbox]);
  return { files, send: (some) => outbox.send(some) };
}

/** The files of a drop, also those in folders, each with its path as its name. Hidden ones within folders stay out. */
export async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry);
  return (await Promise.all(entries.map(open))).flat();
}

async function open(entry) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed));
    return [{ file, name: entry.fullPath.slice(1) }];
  }
  const reader = entry.createReader();
  const inside = [];
  // A folder is told in parts, the last of which is empty.
  for (let some = await part(reader); some.length; some = await part(reader)) inside.push(...some);
  return (await Promise.all(inside.filter(({ name }) => !name.startsWith(".")).map(open))).flat();
}

const part = (reader) => new Promise((found, failed) => reader.readEntries(found, failed));
