// Drives OpenAI's SDK for Node: `openai.mjs BASE KEY SCENARIO`.
import OpenAI from "openai";

const [base, apiKey, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const QUESTION = "How often are keys rotated?";
const asked = (content) => [{ role: "user", content }];

async function whole(question, model) {
  try {
    const answer = await client.chat.completions.create({ model, messages: asked(question) });
    const [choice] = answer.choices;
    return {
      text: choice.message.content,
      finish: choice.finish_reason,
      usage: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
      references: answer.references,
    };
  } catch (error) {
    return { status: error.status, code: error.code };
  }
}

async function stream(question, model) {
  const said = { text: "" };
  try {
    const pieces = await client.chat.completions.create({
      model,
      messages: asked(question),
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const piece of pieces) {
      said.text += piece.choices[0].delta.content ?? "";
      said.finish = piece.choices[0].finish_reason;
      if (piece.usage) said.usage = [piece.usage.prompt_tokens, piece.usage.completion_tokens];
      said.references = piece.references;
    }
  } catch (error) {
    if (error.status) return { status: error.status, code: error.code };
    said.raised = `${error.constructor.name}: ${error.code}`;
  }
  return said;
}

async function cancel() {
  const pieces = await client.chat.completions.create({ model: "m", messages: asked("for ever"), stream: true });
  for await (const _ of pieces) break;
  const left = Number(process.hrtime.bigint()) / 1e9;
  pieces.controller.abort();
  return { left };
}

async function models() {
  const found = [];
  for await (const model of client.models.list()) found.push(model.id);
  return { models: found };
}

const scenarios = {
  whole: () => whole(QUESTION, "kb/handbook"),
  stream: () => stream(QUESTION, "kb/handbook"),
  unknown: () => whole(QUESTION, "nope"),
  "unknown stream": () => stream(QUESTION, "nope"),
  "break off": () => stream("break off", "m"),
  "for ever": cancel,
  models,
};
const found = JSON.stringify(await scenarios[scenario]());
// Not whenever the last connection is forgotten.
process.stdout.write(`${found}\n`, () => process.exit());
