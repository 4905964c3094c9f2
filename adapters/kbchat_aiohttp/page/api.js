// The documented routes, and nothing else of the server.

const ROOT = new URL(".", document.baseURI.split("#")[0]);
const KNOWLEDGE = "api/v2/serve/knowledge/";
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

async function send(path, { method = "GET", json, form, signal } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const body = json !== undefined ? JSON.stringify(json) : form;
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { method, headers, body, signal, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "unreachable", "");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A proxy's page, or nothing: the status must do.
  }
  const found = new Failure(response.status, said.error?.code ?? "", String(said.err_msg ?? response.statusText));
  if (response.status === 401) dispatchEvent(new CustomEvent("kbchat:key", { detail: found }));
  return found;
}

async function data(path, options) {
  const body = await (await send(path, options)).json();
  return body.data;
}

/** Every item of a paged list, a page after the other. */
async function* pages(path, query) {
  for (let page = 1, last = 1; page <= last; page += 1) {
    const params = new URLSearchParams({ ...query, page, page_size: 200 });
    const found = await data(`${path}?${params}`);
    last = found.total_pages;
    yield found;
  }
}

export async function spaces() {
  const all = [];
  for await (const page of pages(`${KNOWLEDGE}spaces`, {})) all.push(...page.items);
  return all;
}

export const createSpace = (name) => data(`${KNOWLEDGE}spaces`, { method: "POST", json: { name } });
export const deleteSpace = (id) => data(`${KNOWLEDGE}spaces/${id}`, { method: "DELETE" });

export const documents = (space, page, size) =>
  data(`${KNOWLEDGE}documents?${new URLSearchParams({ space_id: space, page, page_size: size })}`);
export const showDocument = (id) => data(`${KNOWLEDGE}documents/${id}`);
export const deleteDocument = (id) => data(`${KNOWLEDGE}documents/${id}`, { method: "DELETE" });
export const syncDocument = (id) => data(`${KNOWLEDGE}documents/${id}/sync`, { method: "POST" });

export function upload(space, file, replace) {
  const form = new FormData();
  form.set("space_id", String(space));
  form.set("doc_name", file.name);
  form.set("doc_type", "DOCUMENT");
  if (replace) form.set("replace", "true");
  form.set("doc_file", file, file.name);
  return data(`${KNOWLEDGE}documents`, { method: "POST", form });
}

export const content = (id, start, end) =>
  data(`${KNOWLEDGE}documents/${id}/content?${new URLSearchParams({ start, end })}`);

export const retrieve = (space, query, more) =>
  data(`${KNOWLEDGE}spaces/${space}/retrieve`, { method: "POST", json: { query, ...more } });

/** The frames of a streamed answer. Throws when it ends without saying that it is whole. */
export async function* ask(space, messages, signal) {
  const json = { model: `kb/${space}`, messages, stream: true };
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
