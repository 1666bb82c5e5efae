// The conversation in view, and answers under way, in view or not.
//
// In: what the reader asks. Out: messages, shown and stored. Invariant: a conversation has one answer under way at most;
// it goes on while another conversation is in view; what was shown survives a reload.

import { byId, complain, make, say } from "./dom.js";
import { titleOf, withFiles } from "./files.js";
import { show, toEnd } from "./messages.js";
import { Problem, answer, countTokens, model } from "./server.js";
import { chosen, settingsAreValid } from "./settings.js";
import { forgetConversation, keepConversation, keepCurrent, loadConversation, newConversation } from "./store.js";

const question = byId("question");
const place = byId("conversation");

/** The part of the context that is made free when messages are left out. */
const MADE_ROOM = 0.25;

export const chat = {
  /** The conversation in view. */
  current: newConversation(),
  /** Conversations whose answer is under way, and what stops it. */
  running: new Map(),
  /** Called when titles, order or states of conversations have changed. */
  changed: () => {},
};

const isRunning = () => chat.running.has(chat.current.id);

export function stop() {
  chat.running.get(chat.current.id)?.abort.abort();
}

function store(conversation) {
  conversation.changed = Date.now();
  conversation.title ||= titleOf(conversation);
  keepConversation(conversation);
}

/** Brings a conversation into view. */
export function open(conversation) {
  // One whose answer is under way is further than what is stored.
  chat.current = chat.running.get(conversation.id)?.conversation ?? conversation;
  keepCurrent(chat.current.id);
  byId("said").replaceChildren();
  complain("");
  draw();
}

/** Shows the conversation in view anew. */
export function draw() {
  const { messages, system } = chat.current;
  place.replaceChildren();
  if (system) place.append(make("details", { class: "system" }, make("summary", {}, "System message"), make("p", {}, system)));
  byId("empty").hidden = messages.length > 0;
  for (const message of messages) {
    const article = show(message, actions);
    const run = chat.running.get(chat.current.id);
    if (run?.message === message) run.article = article;
  }
  showRunning();
  toEnd();
}

/** Shows Send or Stop, whichever there is to do. */
function showRunning() {
  const running = isRunning();
  document.body.classList.toggle("busy", running);
  const [there, gone] = running ? [byId("stop"), byId("send")] : [byId("send"), byId("stop")];
  const focused = document.activeElement === gone;
  there.hidden = false;
  gone.hidden = true;
  if (focused) question.focus();
  chat.changed();
}

/** A conversation's messages as a request has them. */
function sent(conversation) {
  const { request, system } = chosen();
  const first = conversation.system || system;
  const messages = first ? [{ role: "system", content: first }] : [];
  for (const m of conversation.messages) {
    if (m.left) continue;
    if (m.role === "user") messages.push({ role: "user", content: withFiles(m) });
    else if (m.content) messages.push({ role: "assistant", content: m.content });
  }
  return { messages, ...request };
}

/** Has the last question of the conversation in view answered. */
async function ask() {
  const conversation = chat.current;
  const body = sent(conversation);
  const message = { role: "assistant", content: "", reasoning: "", error: "", detail: "", note: "", full: false, state: "coming", left: false };
  conversation.messages.push(message);
  const run = { conversation, message, abort: new AbortController(), article: null };
  chat.running.set(conversation.id, run);
  complain("");
  byId("empty").hidden = true;
  run.article = show(message, actions);
  toEnd();
  store(conversation);
  showRunning();
  const reading = readOut(run);
  let due = 0;
  let kept = performance.now();
  const drawSoon = () => {
    due = 0;
    if (chat.current === conversation) run.article.draw();
    reading.lines();
    if (performance.now() - kept < 1000) return;
    store(conversation);
    kept = performance.now();
  };
  try {
    await answer(body, message, run.abort.signal, () => (due ||= requestAnimationFrame(drawSoon)));
  } catch (e) {
    failed(message, e, run.abort.signal.aborted);
  }
  cancelAnimationFrame(due);
  message.state = "over";
  chat.running.delete(conversation.id);
  if (!run.forgotten) store(conversation);
  // Before the last drawing, which scrolls to the buttons that this shows.
  showRunning();
  if (chat.current === conversation) run.article.draw();
  reading.end();
}

function failed(message, e, stopped) {
  if (stopped) {
    message.note = message.note ? `${message.note} · stopped` : "stopped";
    return;
  }
  const known = e instanceof Problem ? e : new Problem("The answer could not be read.", { detail: String(e) });
  Object.assign(message, { error: known.message, detail: known.detail, full: known.full });
}

/** Has an answer read out line by line, as soon as a line is whole, while its conversation is in view. */
function readOut({ conversation, message }) {
  byId("said").replaceChildren();
  let read = 0;
  let thought = false;
  const aloud = (words) => chat.current === conversation && say(words);
  const lines = (end = message.content.lastIndexOf("\n")) => {
    if (!thought && message.reasoning) aloud("Thinking");
    thought ||= Boolean(message.reasoning);
    const fresh = message.content.slice(read, end).trim();
    if (end > read && fresh) aloud(fresh);
    read = Math.max(read, end);
  };
  return {
    lines: () => lines(),
    end() {
      lines(message.content.length);
      aloud(message.error ? `Error: ${message.error}` : message.note.includes("stopped") ? "Stopped" : "End of answer");
      // Read by now, and not to be met a second time by who walks through the page.
      setTimeout(() => isRunning() || byId("said").replaceChildren(), 20_000);
    },
  };
}

/** Asks a question with attachments; false if it cannot be asked now. */
export function submit(content, files) {
  if (isRunning() || !(content || files.length) || !settingsAreValid()) return false;
  const message = { role: "user", content, files: files.map(({ name, text }) => ({ name, text })), left: false };
  chat.current.messages.push(message);
  show(message, actions);
  ask();
  return true;
}

/** Has the question asked in other words; what followed it is gone. */
function edit(message, content) {
  const at = chat.current.messages.indexOf(message);
  if (at < 0 || isRunning() || !settingsAreValid()) return;
  chat.current.messages.splice(at, Infinity, { ...message, content, left: false });
  draw();
  question.focus();
  ask();
}

/** Has the last question answered once more. */
function again() {
  if (isRunning() || chat.current.messages.at(-1)?.role !== "assistant" || !settingsAreValid()) return;
  chat.current.messages.pop();
  place.lastElementChild.remove();
  question.focus();
  ask();
}

/** Begins of turns that are still sent. */
function turns() {
  const { messages } = chat.current;
  return messages.flatMap((m, i) => (m.role === "user" && !m.left ? [i] : []));
}

/** Leaves out the oldest turns until there is room for an answer, and asks again. */
async function leaveOut() {
  const conversation = chat.current;
  const { messages } = conversation;
  if (isRunning() || turns().length < 2) return;
  for (;;) {
    const next = turns()[1];
    for (let i = 0; i < next; i++) messages[i].left = true;
    if (turns().length < 2) break;
    const count = await countTokens({ messages: sent(conversation).messages });
    if (count === null || count <= model.context * (1 - MADE_ROOM)) break;
  }
  if (chat.current !== conversation || isRunning()) return store(conversation);
  // An answer that was only cut off stays; the next question finds room.
  const failed = Boolean(messages.at(-1).error);
  messages.at(-1).full = false;
  draw();
  store(conversation);
  if (failed) again();
  else question.focus();
}

const actions = { edit, again, leaveOut, canLeaveOut: () => turns().length > 1 };

/** Begins to change the last question. */
export function editLast() {
  if (!isRunning()) [...place.querySelectorAll("article.user")].at(-1)?.edit();
}

export function rename(conversation, title) {
  const known = chat.current.id === conversation.id ? chat.current : chat.running.get(conversation.id)?.conversation ?? conversation;
  known.title = title || titleOf(known);
  keepConversation(known);
  chat.changed();
}

/** Forgets a conversation for good. */
export function forget({ id }) {
  const run = chat.running.get(id);
  if (run) {
    run.forgotten = true;
    run.abort.abort();
  }
  forgetConversation(id);
  if (chat.current.id === id) open(newConversation());
  else chat.changed();
}

/** Stores what is under way, and ends it: the page is left. */
export function leave() {
  for (const { conversation, abort } of chat.running.values()) {
    store(conversation);
    abort.abort();
  }
}

/** Another tab has changed a stored conversation. */
export function changedElsewhere(id) {
  if (id === chat.current.id && !isRunning()) {
    chat.current = loadConversation(id) ?? newConversation();
    draw();
  } else chat.changed();
}
