// The list of conversations at the side: to open, search, rename, delete, export and import.
//
// In: stored conversations. Out: the list. Invariant: the list shows what is stored, the last changed first; the
// conversation in view is marked as current.

import { chat, forget, open, rename } from "./chat.js";
import { byId, complain, make } from "./dom.js";
import { allAsJson, asJson, asMarkdown, download, fileName, importFile } from "./files.js";
import { conversations, keepConversation, newConversation } from "./store.js";

const list = byId("list");
const search = byId("search");
const exports_ = byId("export");
const narrow = matchMedia("(max-width: 54rem)");

/** Shows or hides the side where it covers the conversation. */
function showSide(shown) {
  document.body.classList.toggle("side-open", shown);
  byId("open-side").setAttribute("aria-expanded", String(shown));
  if (shown) search.focus();
}

function matches(conversation, words) {
  const whole = [conversation.title, ...conversation.messages.map((m) => m.content)].join("\n").toLowerCase();
  return words.every((word) => whole.includes(word));
}

export function showList() {
  // While a title is changed the list stays.
  if (list.querySelector("form")) return;
  const focused = document.activeElement?.closest("#list li")?.dataset.id;
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = conversations().filter((conversation) => matches(conversation, words));
  list.replaceChildren(...found.map(item));
  byId("none").hidden = found.length > 0;
  byId("none").textContent = words.length ? "No conversation has these words." : "Conversations appear here.";
  if (focused) list.querySelector(`li[data-id="${CSS.escape(focused)}"] button`)?.focus();
}

function item(conversation) {
  const { id } = conversation;
  const title = conversation.title || "Conversation";
  const current = id === chat.current.id;
  const opener = make("button", { type: "button", class: "open", ...(current ? { "aria-current": "true" } : {}), click: () => {
    open(conversation);
    showSide(false);
    byId("question").focus();
  } }, title, chat.running.has(id) ? make("span", { class: "running" }, " answering …") : "");
  const row = make("li", { "data-id": id }, opener);
  if (!current) return row;
  const button = (name, click) => make("button", { type: "button", "aria-label": `${name} ${title}`, click }, name);
  row.append(make("div", { class: "buttons" },
    button("Rename", () => changeTitle(row, conversation)),
    button("Delete", () => {
      if (!confirm(`Delete the conversation “${title}”?`)) return;
      forget(conversation);
      byId("question").focus();
    })));
  return row;
}

function changeTitle(row, conversation) {
  const field = make("input", { "aria-label": "Title", value: conversation.title, maxlength: 200 });
  let open = true;
  const close = (title) => {
    if (!open) return;
    open = false;
    form.remove();
    if (title === null) showList();
    else rename(conversation, title.trim());
    list.querySelector("[aria-current] ~ .buttons button")?.focus();
  };
  const form = make("form", { submit: (event) => {
    event.preventDefault();
    close(field.value);
  } }, field);
  field.addEventListener("blur", () => close(field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close(null);
  });
  row.replaceChildren(form);
  field.select();
}

async function importAll(files) {
  let last = null;
  try {
    for (const file of files) {
      for (const conversation of await importFile(file)) {
        if (!keepConversation(conversation)) return;
        last ??= conversation;
      }
    }
  } catch (e) {
    complain(e.message);
  }
  if (!last) return;
  const wrong = byId("alert").textContent;
  open(last);
  complain(wrong);
}

/** Has the side work. */
export function startSide() {
  chat.changed = showList;
  search.addEventListener("input", showList);
  byId("fresh").addEventListener("click", () => {
    open(newConversation());
    showSide(false);
    byId("question").focus();
  });
  byId("open-side").addEventListener("click", () => showSide(!document.body.classList.contains("side-open")));
  byId("side").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !narrow.matches) return;
    event.stopPropagation();
    showSide(false);
    byId("open-side").focus();
  });
  // What it covers cannot be used unseen.
  byId("side").addEventListener("focusout", ({ currentTarget, relatedTarget }) => {
    if (relatedTarget && relatedTarget !== byId("open-side") && !currentTarget.contains(relatedTarget)) showSide(false);
  });
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async ({ target }) => {
    await importAll([...target.files]);
    target.value = "";
  });
  byId("open-export").addEventListener("click", () => exports_.showModal());
  const saves = {
    "export-markdown": () => download(fileName(chat.current, "md"), "text/markdown", asMarkdown(chat.current)),
    "export-json": () => download(fileName(chat.current, "json"), "application/json", asJson(chat.current)),
    "export-all": () => download("conversations.json", "application/json", allAsJson(conversations())),
  };
  for (const [id, save] of Object.entries(saves)) byId(id).addEventListener("click", save);
}
