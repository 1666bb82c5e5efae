// The server: what model it has, and answers as they come.
//
// In: requests. Out: the model, pieces of answers, problems. Invariant: a problem says what happened and what the reader
// can do, in words that need no knowledge of servers; the server's own words stay beside it, for those who have it.

import { number, text } from "./dom.js";
import { keyHeaders } from "./settings.js";

/** The model that answers, as far as the server has told. */
export const model = { name: "Model", context: 0, weights: "", chats: true };

/** A number of tokens, and about how many words these are; empty if the context is not known. */
export function room() {
  return model.context ? `${number(model.context)} tokens (about ${number(Math.round(model.context * 0.7))} words)` : "";
}

/** Something went wrong. `detail`: the server's own words; `full`: the conversation is too long; `again`: seconds to wait. */
export class Problem extends Error {
  constructor(message, { detail = "", full = false, again = 0 } = {}) {
    super(message);
    Object.assign(this, { detail, full, again });
  }
}

const NO_ANSWER = "The server does not answer. It may have been stopped, or the connection to it is broken.";

async function request(path, options, signal) {
  return fetch(path, { ...options, signal, headers: { ...options.headers, ...keyHeaders() } }).catch((e) => {
    throw signal?.aborted ? e : new Problem(NO_ANSWER);
  });
}

const posted = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** What a refusal means for the reader; `alone`: of a question without others before it. */
async function refusal(response, alone) {
  const said = await response.json().catch(() => null);
  const detail = text(said?.error?.message) || `status ${response.status}`;
  const wait = Number(response.headers.get("Retry-After")) || 0;
  const again = wait ? ` Worth another try in ${wait} s.` : " Try again in a moment.";
  const problem = (message, more) => new Problem(message, { detail, again: wait, ...more });
  if (said?.error?.code === "context_length_exceeded") return problem(tooLong(alone), { full: true });
  if (response.status === 400 && /^(temperature|top_p|top_k|max_tokens|max_completion_tokens|seed)$/.test(said.error?.param ?? "")) {
    return problem(`The server does not take one of the settings (${said.error.param.replace("_", " ")}). Change it under Settings.`);
  }
  return problem({
    401: Object.keys(keyHeaders()).length ? "The server does not accept this API key. Correct it under Settings." : "This server wants an API key. Enter it under Settings.",
    403: "The server does not take questions from this address. Open the page by the address that the server showed when it started.",
    413: "The conversation is too large to be sent. Begin a new one, or ask with smaller attachments.",
    429: `The server is busy with other questions.${again}`,
    503: /load/.test(detail) ? `The model is still being loaded.${again}` : `The server takes no questions at the moment.${again}`,
  }[response.status] ?? (response.status >= 500 ? `Something went wrong in the server.${again}` : "The server refused this question."));
}

/** Why a conversation does not fit, with what helps. */
function tooLong(alone) {
  const most = room() ? `: it has room for ${room()}, the answer among them` : "";
  if (alone) return `This question is longer than the model can hold${most}. Shorten it or its attachments.`;
  return `This conversation is longer than the model can hold${most}. Leave out the oldest messages, shorten the question or its attachments, or begin a new conversation.`;
}

/** Asks what model the server has. */
export async function greet() {
  const response = await request("v1/models", {});
  if (!response.ok) throw await refusal(response);
  const { data } = await response.json();
  const [{ id, meta }] = data;
  Object.assign(model, { name: id, context: meta?.context ?? 0, weights: meta?.weights ?? "", chats: meta?.chat !== false });
}

/** The number of tokens of `{content}` or `{messages}`; null if the server does not tell. */
export async function countTokens(what) {
  const response = await request("tokenize", posted(what)).catch(() => null);
  if (!response?.ok) return null;
  return (await response.json().catch(() => null))?.count ?? null;
}

const BROKEN = "The connection broke off in the middle of the answer. What came is kept.";

/** The data of a stream's events, as they come; fails if the connection ends before the last. */
async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((e) => {
      throw signal.aborted ? e : new Problem(BROKEN, { detail: String(e) });
    });
    if (done) break;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
  throw new Problem(BROKEN);
}

/** Has `message` grow by the answer to a request; `changed` is called at each piece. */
export async function answer(body, message, signal, changed) {
  const since = performance.now();
  const response = await request("v1/chat/completions", posted({ ...body, stream: true, stream_options: { include_usage: true } }), signal);
  const alone = body.messages.filter(({ role }) => role === "user").length < 2;
  if (!response.ok) throw await refusal(response, alone);
  let pieces = 0;
  let cut = false;
  let total = 0;
  for await (const event of events(response.body, signal)) {
    if (event.error) throw new Problem("Something went wrong while the answer was written.", { detail: text(event.error.message) });
    const choice = event.choices?.[0];
    const delta = choice?.delta ?? {};
    message.reasoning += text(delta.reasoning_content);
    message.content += text(delta.content);
    if (delta.reasoning_content || delta.content) message.note = pace(++pieces, since);
    if (choice?.finish_reason === "length") cut = true;
    if (event.usage) {
      total = event.usage.total_tokens;
      message.note = pace(event.usage.completion_tokens, since, total);
    }
    changed();
  }
  if (!cut) return;
  message.full = model.context > 0 && total >= model.context;
  message.note += message.full ? " · cut off: the conversation has filled the model's context" : " · cut off at Max tokens (Settings)";
}

/** Tokens over the time since the question was sent: pieces that came at once would make any later start look too fast. */
function pace(tokens, since, total) {
  const seconds = Math.max(performance.now() - since, 1) / 1000;
  const short = (number) => (number < 10 ? number.toFixed(1) : String(Math.round(number)));
  const count = `${tokens} ${tokens === 1 ? "token" : "tokens"}`;
  const speed = `${count} · ${seconds < 1 ? seconds.toFixed(2) : short(seconds)} s · ${short(tokens / seconds)} tok/s`;
  return total && model.context ? `${speed} · context ${total} of ${model.context}` : speed;
}
