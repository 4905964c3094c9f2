// The documented routes, and nothing else of the server.

const ROOT = new URL(".", document.baseURI.split("#")[0]);
const KNOWLEDGE = "api/v2/serve/knowledge/";
const CONVERSATIONS = "api/v2/conversations";
const KEY = "kbchat.key";

export class Failure extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

const authorization = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

async function send(path, { method = "GET", json, signal } = {}) {
  const headers = authorization();
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { method, headers, body, signal, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "unreachable", "");
  }
  if (!response.ok) throw failure(response.status, await response.text().catch(() => ""));
  return response;
}

function failure(status, text) {
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // A proxy's page, or nothing: the status must do.
  }
  const found = new Failure(status, said.error?.code ?? "", String(said.err_msg ?? status));
  if (status === 401) dispatchEvent(new CustomEvent("kbchat:key", { detail: found }));
  return found;
}

async function whole(path, options) {
  const response = await send(path, options);
  try {
    return await response.json();
  } catch {
    throw new Failure(0, "unreachable", "");
  }
}

const data = async (path, options) => (await whole(path, options)).data;

export async function spaces() {
  const all = [];
  for (let page = 1, last = 1; page <= last; page += 1) {
    const found = await data(`${KNOWLEDGE}spaces?${new URLSearchParams({ page, page_size: 200 })}`);
    last = found.total_pages;
    all.push(...found.items);
  }
  return all;
}

/** What the key may do: `reader`, `writer` or `admin`. */
export const role = async () => (await data(`${KNOWLEDGE}health`)).role;

export const createSpace = (name) => data(`${KNOWLEDGE}spaces`, { method: "POST", json: { name } });
export const updateSpace = (id, change) => data(`${KNOWLEDGE}spaces`, { method: "PUT", json: { id, ...change } });
export const deleteSpace = (id) => data(`${KNOWLEDGE}spaces/${id}`, { method: "DELETE" });
export const stats = (space) => data(`${KNOWLEDGE}${space}/stats`);

export const documents = (space, page, size) =>
  data(`${KNOWLEDGE}documents?${new URLSearchParams({ space_id: space, page, page_size: size })}`);
export const deleteDocument = (id) => data(`${KNOWLEDGE}documents/${id}`, { method: "DELETE" });
export const syncDocument = (id) => data(`${KNOWLEDGE}documents/${id}/sync`, { method: "POST" });
export const content = (id, start, end) =>
  data(`${KNOWLEDGE}documents/${id}/content?${new URLSearchParams({ start, end })}`);

/** Send a file; `onShare` is told how much of it went out. Only XMLHttpRequest tells that. */
export function upload(space, file, name, replace, onShare) {
  const form = new FormData();
  form.set("space_id", String(space));
  form.set("doc_name", name);
  form.set("doc_type", "DOCUMENT");
  if (replace) form.set("replace", "true");
  form.set("doc_file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(`${KNOWLEDGE}documents`, ROOT));
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onerror = () => reject(new Failure(0, "unreachable", ""));
    request.onload = () => {
      if (request.status >= 300) reject(failure(request.status, request.responseText));
      else resolve(JSON.parse(request.responseText).data);
    };
    request.send(form);
  });
}

/** The passages for a question, with the trace of how they were found. */
export const search = (space, query, more) =>
  whole(`${KNOWLEDGE}spaces/${space}/retrieve`, { method: "POST", json: { query, explain: true, ...more } });

export const conversations = (space, page, size) =>
  data(`${CONVERSATIONS}?${new URLSearchParams({ space_id: space, page, page_size: size })}`);
export const conversation = (uid) => data(`${CONVERSATIONS}/${encodeURIComponent(uid)}`);
export const forget = (uid) => data(`${CONVERSATIONS}/${encodeURIComponent(uid)}`, { method: "DELETE" });

/** The frames of a streamed answer. Throws when it ends without saying that it is whole. */
export async function* ask(model, messages, uid, signal) {
  const json = { model, messages, conv_uid: uid, stream: true };
  const response = await send("v1/chat/completions", { method: "POST", json, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done) throw new Failure(0, "cut", "");
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ")) continue;
        if (event === "data: [DONE]") return;
        const frame = JSON.parse(event.slice(6));
        if (frame.error) throw new Failure(0, frame.error.code, frame.error.message);
        yield frame;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "cut", "");
  }
}
