// Drives the Vercel AI SDK's OpenAI-compatible provider: `ai.mjs BASE KEY SCENARIO`.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";

const [base, apiKey, scenario] = process.argv.slice(2);
const provider = createOpenAICompatible({ name: "kbchat", baseURL: `${base}/v1`, apiKey, includeUsage: true });
const QUESTION = "How often are keys rotated?";

const failed = (error) => {
  const cause = error.lastError ?? error;
  return { status: cause.statusCode, code: cause.data?.error?.code ?? JSON.parse(cause.responseBody ?? "{}").error?.code };
};

async function whole(prompt, model) {
  try {
    const answer = await generateText({ model: provider(model), prompt, maxRetries: 0 });
    return {
      text: answer.text,
      finish: answer.finishReason,
      usage: [answer.usage.inputTokens, answer.usage.outputTokens],
    };
  } catch (error) {
    return failed(error);
  }
}

async function stream(prompt, model) {
  const said = { text: "" };
  let problem;
  const answer = streamText({ model: provider(model), prompt, maxRetries: 0, onError: ({ error }) => (problem = error) });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") said.text += part.text;
    if (part.type === "error") problem = part.error;
    if (part.type === "finish") {
      said.finish = part.finishReason;
      said.usage = [part.totalUsage.inputTokens, part.totalUsage.outputTokens];
    }
  }
  if (problem?.statusCode) return failed(problem);
  if (problem) said.raised = JSON.stringify(problem.message ?? problem);
  return said;
}

async function cancel() {
  const controller = new AbortController();
  const answer = streamText({
    model: provider("m"),
    prompt: "for ever",
    abortSignal: controller.signal,
    onError: () => {},
  });
  for await (const _ of answer.textStream) break;
  const left = Number(process.hrtime.bigint()) / 1e9;
  controller.abort();
  return { left };
}

const scenarios = {
  whole: () => whole(QUESTION, "kb/handbook"),
  stream: () => stream(QUESTION, "kb/handbook"),
  unknown: () => whole(QUESTION, "nope"),
  "unknown stream": () => stream(QUESTION, "nope"),
  "break off": () => stream("break off", "m"),
  "for ever": cancel,
};
const found = JSON.stringify(await scenarios[scenario]());
// Not whenever the last connection is forgotten.
process.stdout.write(`${found}\n`, () => process.exit());
