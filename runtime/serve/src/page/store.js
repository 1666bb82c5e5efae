// What this browser keeps: conversations, settings, the theme.
//
// In: localStorage, which other pages and other tabs of this address write too. Out: values of the expected shape.
// Invariant: what was stored by anything else, or broken off amid writing, becomes an empty value, never an error.

import { complain, text } from "./dom.js";

/** Other pages of this machine may have come from the same address. */
const PREFIX = "qwenc.";
const CONVERSATION = "conversation.";

/** What was stored by this name; `otherwise` if nothing, or nothing that makes sense. */
export function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Stores a value; false, and a message to the reader, if there is no room. */
export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    complain("This browser has no room left for conversations: what comes now is gone after a reload. Export what you want to keep, then delete some.");
    return false;
  }
}

/** The name that a storage event is about; empty if it is not this page's. */
export const nameOf = (event) => (event.key?.startsWith(PREFIX) ? event.key.slice(PREFIX.length) : "");

/** The conversation that a stored name belongs to; empty if it is something else. */
export const idOf = (name) => (name.startsWith(CONVERSATION) ? name.slice(CONVERSATION.length) : "");

export const keepConversation = ({ id, title, system, changed, messages }) =>
  keep(CONVERSATION + id, { title, ...(system ? { system } : {}), changed, messages });

export function forgetConversation(id) {
  try {
    localStorage.removeItem(PREFIX + CONVERSATION + id);
  } catch {
    // Where nothing can be stored there is nothing to forget.
  }
}

/** A conversation without messages, which is stored with its first one. */
export const newConversation = () => ({ id: newId(), title: "", system: "", changed: Date.now(), messages: [] });

/** Names that no other tab gives; pages that come over plain HTTP have no randomUUID. */
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");

/** A stored conversation; null if there is none of this name. */
export function loadConversation(id) {
  const stored = load(CONVERSATION + id, null);
  if (!stored || typeof stored !== "object") return null;
  const messages = (Array.isArray(stored.messages) ? stored.messages : []).map(message).filter(Boolean);
  return { id, title: text(stored.title), system: text(stored.system), changed: Number(stored.changed) || 0, messages };
}

/** A message as it was stored; one that was still coming was broken off. */
function message(m) {
  if (m?.role === "user") {
    const files = (Array.isArray(m.files) ? m.files : []).map((file) => ({ name: text(file?.name), text: text(file?.text) }));
    return { role: "user", content: text(m.content), files, left: Boolean(m.left) };
  }
  if (m?.role !== "assistant") return null;
  const note = m.state === "coming" ? "stopped" : text(m.note);
  return {
    role: "assistant", content: text(m.content), reasoning: text(m.reasoning), error: text(m.error), detail: text(m.detail), note, full: Boolean(m.full), state: "over", left: Boolean(m.left),
  };
}

/** The conversation that this tab has in view, kept for a reload; empty if there was none. */
export function currentId() {
  try {
    return sessionStorage.getItem(`${PREFIX}current`) ?? "";
  } catch {
    return "";
  }
}

export function keepCurrent(id) {
  try {
    sessionStorage.setItem(`${PREFIX}current`, id);
  } catch {
    // After a reload the page then begins with the last conversation.
  }
}

/** All stored conversations, the last changed first. */
export function conversations() {
  const ids = [];
  try {
    for (let i = 0; i < localStorage.length; i++) {
      const key = localStorage.key(i);
      if (key.startsWith(PREFIX + CONVERSATION)) ids.push(key.slice((PREFIX + CONVERSATION).length));
    }
  } catch {
    return [];
  }
  return ids.map(loadConversation).filter(Boolean).sort((a, b) => b.changed - a.changed);
}
