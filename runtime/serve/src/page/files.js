// Text files: attached to a question, exported, imported.
//
// In: files that the reader chose. Out: attachments that fit the model; conversations; downloads. Invariant: no file leaves
// this browser but as a part of a question to this server; what is no text, or too long for the model, is refused by name.

import { number, text } from "./dom.js";
import { chosen } from "./settings.js";
import { countTokens, model, room } from "./server.js";
import { newConversation } from "./store.js";

/** Bytes of text that a server takes for each token of the context. */
const BYTES_PER_TOKEN = 64;
/** Bytes of the longest file that is read where the context is not known. */
const LONGEST = 2 ** 20;
/** Bytes of the longest file of conversations: browsers keep about 5 MiB. */
const LONGEST_IMPORT = 20 * 2 ** 20;

async function readText(file) {
  const bytes = await file.arrayBuffer().catch(() => null);
  if (!bytes) throw new Error(`${file.name} cannot be read.`);
  try {
    const content = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!content.includes("\0")) return content;
  } catch {
    // Said below.
  }
  throw new Error(`${file.name} is not a text file, so the model cannot read it. Text, source code, CSV and the like can be attached.`);
}

/** A file as an attachment beside others, with its number of tokens if the server tells it; fails with what the reader can do. */
export async function attach(file, others) {
  const most = model.context ? model.context * BYTES_PER_TOKEN : LONGEST;
  const why = room() ? `: the model holds ${room()} with question and answer` : "";
  const tooLong = (size) => new Error(`${file.name} is too long (${size})${why}. Attach a part of it.`);
  if (file.size > most) throw tooLong(`${number(Math.ceil(file.size / 1024))} KiB`);
  const content = await readText(file);
  if (!content.trim()) throw new Error(`${file.name} is empty.`);
  const tokens = await countTokens({ content });
  const before = others.reduce((sum, other) => sum + (other.tokens ?? 0), 0);
  if (tokens !== null && model.context && before + tokens >= model.context) {
    throw tooLong(`${number(tokens)} tokens${before ? `, beside ${number(before)} of other files` : ""}`);
  }
  return { name: file.name, text: content, tokens };
}

/** A question with its attachments, as the model gets it. */
export function withFiles({ content, files }) {
  const parts = files.map((file) => {
    const longest = Math.max(2, ...[...file.text.matchAll(/`{3,}/g)].slice(0, 1_000).map(([run]) => run.length));
    const fence = "`".repeat(longest + 1);
    return `File ${file.name}:\n${fence}\n${file.text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...parts, content].filter(Boolean).join("\n\n");
}

// ---- Export ----

/** A conversation's messages in the shape of OpenAI's interface, which `/load` of the terminal reads too. */
function messagesOf(conversation) {
  const system = conversation.system || chosen().system;
  const messages = conversation.messages.filter((m) => m.role === "user" || m.content || m.reasoning).map((m) => {
    if (m.role === "user") return { role: "user", content: withFiles(m) };
    return { role: "assistant", content: m.content, ...(m.reasoning ? { reasoning_content: m.reasoning } : {}) };
  });
  return system ? [{ role: "system", content: system }, ...messages] : messages;
}

export function asMarkdown(conversation) {
  const name = { system: "System message", user: "You", assistant: model.name };
  const parts = messagesOf(conversation).map(({ role, content }) => `## ${name[role]}\n\n${content.trim()}\n`);
  return [`# ${conversation.title || "Conversation"}\n`, ...parts].join("\n");
}

const plain = (conversation) => ({ title: conversation.title, messages: messagesOf(conversation) });
export const asJson = (conversation) => `${JSON.stringify(plain(conversation), null, 2)}\n`;
export const allAsJson = (conversations) => `${JSON.stringify({ conversations: conversations.map(plain) }, null, 2)}\n`;

/** Has the browser save a text as a file. */
export function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A file's name for a conversation. */
export function fileName(conversation, extension) {
  const title = conversation.title.replaceAll(/[^\p{L}\p{N}]+/gu, "-").replaceAll(/^-+|-+$/g, "").slice(0, 60);
  return `${title || "conversation"}.${extension}`;
}

// ---- Import ----

/** The conversations of an exported file, or of one that `/save` of the terminal wrote. */
export async function importFile(file) {
  if (file.size > LONGEST_IMPORT) throw new Error(`${file.name} is larger than a browser keeps (${number(LONGEST_IMPORT >> 20)} MiB).`);
  let value;
  try {
    value = JSON.parse(await readText(file));
  } catch {
    throw new Error(`${file.name} is not a JSON file with conversations. Choose a file that Export wrote as JSON.`);
  }
  const found = Array.isArray(value?.conversations) ? value.conversations : [value];
  return found.map((one, i) => imported(one, found.length > 1 ? `conversation ${i + 1} of ${file.name}` : file.name));
}

function imported(value, where) {
  const messages = Array.isArray(value) ? value : value?.messages;
  if (!Array.isArray(messages) || !messages.length) throw new Error(`${where} holds no messages.`);
  const conversation = newConversation();
  for (const m of messages) {
    if (!["system", "user", "assistant"].includes(m?.role) || typeof m.content !== "string") {
      throw new Error(`${where} holds a message that is neither a question nor an answer in words.`);
    }
    if (m.role === "system") conversation.system = m.content;
    else if (m.role === "user") conversation.messages.push({ role: "user", content: m.content, files: [], left: false });
    else conversation.messages.push(importedAnswer(m));
  }
  conversation.title = text(value.title).slice(0, 200) || titleOf(conversation);
  return conversation;
}

/** An answer whose thinking may stand between tags, as the terminal saves it. */
function importedAnswer({ content, reasoning_content }) {
  const [, thought, rest] = /^\s*<think>([\s\S]*?)<\/think>([\s\S]*)$/.exec(content) ?? [null, text(reasoning_content), content];
  return { role: "assistant", content: rest.trim(), reasoning: thought.trim(), error: "", detail: "", note: "", full: false, state: "over", left: false };
}

/** A title: the beginning of the first question. */
export function titleOf(conversation) {
  const first = conversation.messages.find((m) => m.role === "user");
  const line = (first?.content || first?.files[0]?.name || "").trim().replaceAll(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57).trim()}…` : line;
}
