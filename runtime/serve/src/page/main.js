// The chat page: asks /v1/chat/completions and shows what comes.
//
// In: the server this page came from, what the reader does. Out: the page at work. Invariant: the page talks to this
// server alone; what a model or a server says becomes text nodes and elements that the page names, never markup.

import { changedElsewhere, editLast, leave, open, stop, submit } from "./chat.js";
import { byId, complain, make, number } from "./dom.js";
import { attach } from "./files.js";
import { greet, model, room } from "./server.js";
import { showSettings, showTheme, startSettings } from "./settings.js";
import { startSide } from "./side.js";
import { conversations, currentId, idOf, loadConversation, nameOf, newConversation } from "./store.js";

const question = byId("question");

// ---- The server ----

async function meet() {
  try {
    await greet();
  } catch (problem) {
    complain(problem.message);
    if (/loaded/.test(problem.message)) setTimeout(meet, 2000);
    return;
  }
  complain(model.chats ? "" : "This model cannot hold conversations: it came without a chat template. Programs can still use the server to go on with texts.");
  document.title = `${model.name} · chat`;
  byId("attach").title = room() ? `Attach text files: with question and answer up to ${room()}` : "Attach text files";
  byId("name").textContent = model.name;
  byId("about").textContent = [model.weights, model.context && `${model.context} tokens of context`].filter(Boolean).join(" · ");
  for (const title of document.querySelectorAll("article.assistant > h2")) title.textContent = model.name;
}

// ---- The question, and what is attached to it ----

let attached = [];

function showAttached() {
  byId("attached").replaceChildren(...attached.map((file) => {
    const remove = make("button", { type: "button", "aria-label": `Remove ${file.name}`, click: () => {
      attached = attached.filter((other) => other !== file);
      showAttached();
      question.focus();
    } }, "✕");
    return make("li", {}, file.tokens === null ? file.name : `${file.name} · ${number(file.tokens)} tokens`, remove);
  }));
}

async function attachAll(files) {
  complain("");
  for (const file of files) {
    try {
      attached.push(await attach(file, attached));
    } catch (problem) {
      complain(problem.message);
    }
  }
  showAttached();
  question.focus();
}

function send() {
  if (!submit(question.value.trim(), attached)) return;
  question.value = "";
  attached = [];
  showAttached();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
question.addEventListener("keydown", (event) => {
  // While an input method composes, its keys are its own; Safari says so by the code alone.
  if (event.isComposing || event.keyCode === 229) return;
  if (event.key === "ArrowUp" && !question.value) editLast();
  else if (event.key === "Enter" && !event.shiftKey) send();
  else return;
  event.preventDefault();
});
question.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  attachAll(files);
});
byId("attach").addEventListener("click", () => byId("attach-file").click());
byId("attach-file").addEventListener("change", async ({ target }) => {
  await attachAll([...target.files]);
  target.value = "";
});
document.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  attachAll([...event.dataTransfer.files]);
});

// ---- The page ----

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !document.querySelector("dialog[open]")) stop();
});
byId("stop").addEventListener("click", stop);
addEventListener("pagehide", leave);
addEventListener("storage", (event) => {
  // Another tab of this page wrote.
  const name = nameOf(event);
  if (name === "theme") showTheme();
  if (name === "settings") showSettings();
  if (idOf(name)) changedElsewhere(idOf(name));
});

startSettings(meet);
startSide();
const before = currentId();
open((before ? loadConversation(before) : conversations()[0]) ?? newConversation());
meet();
