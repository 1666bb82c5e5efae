// The chat page: asks /v1/chat/completions and shows what comes.
//
// In: the server this page came from, what the reader types. Out: a conversation, kept in localStorage. Invariant: what
// a model or a server says becomes text nodes and elements named here, never markup; what was shown survives a reload.

const byId = (id) => document.getElementById(id);
const page = {
  conversation: byId("conversation"), scroll: document.querySelector("main"), empty: byId("empty"), alert: byId("alert"),
  question: byId("question"), send: byId("send"), stop: byId("stop"), said: byId("said"),
  settings: byId("settings"), form: byId("settings").querySelector("form"), dark: byId("dark"),
};

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ---- What is kept ----

/** Other pages of this machine may have come from the same address. */
const PREFIX = "qwenc.";

/** What was stored by this name; `otherwise` if nothing, or nothing that makes sense. */
function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    complain("This browser keeps nothing more for this page: the conversation will be gone after a reload.");
  }
}

const text = (value) => (typeof value === "string" ? value : "");

/** Messages as they were stored; one that was still coming was broken off. */
function loadConversation() {
  const stored = load("conversation", []);
  const known = (m) => m && (m.role === "user" || m.role === "assistant");
  return (Array.isArray(stored) ? stored : []).filter(known).map((m) => ({
    role: m.role, content: text(m.content), reasoning: text(m.reasoning), error: text(m.error),
    note: m.state === "coming" ? "stopped" : text(m.note), state: "over",
  }));
}

let conversation = loadConversation();
const keepConversation = () => keep("conversation", conversation);

// ---- Settings ----

const theirs = () => [...page.form.elements].filter((field) => field.name);

function showSettings() {
  const stored = load("settings", {});
  for (const field of theirs()) field.value = text(stored[field.name]);
}

function keepSettings() {
  keep("settings", Object.fromEntries(theirs().map((field) => [field.name, field.value])));
}

/** A request's body: the conversation, and what the settings say of it. */
function body() {
  const field = Object.fromEntries(theirs().map((f) => [f.name, f.value.trim()]));
  const messages = field.system ? [{ role: "system", content: field.system }] : [];
  for (const { role, content } of conversation) {
    if (role === "user" || content) messages.push({ role, content });
  }
  const request = { messages, stream: true, stream_options: { include_usage: true } };
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed"]) {
    if (field[name]) request[name] = Number(field[name]);
  }
  if (field.thinking) request.chat_template_kwargs = { enable_thinking: field.thinking === "on" };
  return request;
}

function headers() {
  const { value, validity } = page.form.elements.key;
  return value && validity.valid ? { Authorization: `Bearer ${value}` } : {};
}

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

/** Shows the chosen theme, or else the system's. */
function showTheme() {
  const chosen = load("theme", "");
  if (chosen) document.documentElement.dataset.theme = chosen;
  page.dark.setAttribute("aria-pressed", String(chosen ? chosen === "dark" : systemIsDark.matches));
}

// ---- Markdown, as much of it as chats need ----

const FENCE = /^\s{0,8}(```+(?!`)|~~~+(?!~))([^`]*)$/;
const RULE = /^ {0,3}(---+|___+|\*\*\*+)\s*$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
/** Deeper lists are shown as this deep. */
const DEEPEST = 16;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

function kindOf(line) {
  const known = { code: FENCE, rule: RULE, heading: HEADING, list: ITEM, text: /\S/ };
  return Object.keys(known).find((kind) => known[kind].test(line)) ?? "";
}

/** Cuts a text into blocks: code, rules, headings, lists, paragraphs. */
function blocks(source) {
  const lines = source.split(/\r?\n/);
  const found = [];
  for (let i = 0; i < lines.length; ) {
    const kind = kindOf(lines[i]);
    const first = i++;
    if (kind === "code") {
      const mark = FENCE.exec(lines[first])[1];
      while (i < lines.length && !closes(lines[i], mark)) i++;
      i++;
    } else if (kind === "list") {
      while (i < lines.length && continues(lines[first], lines[i], lines[i + 1] ?? "")) i++;
    } else if (kind === "text") {
      while (kindOf(lines[i] ?? "") === "text") i++;
    }
    if (kind) found.push({ kind, lines: lines.slice(first, i) });
  }
  return found;
}

const isNumbered = (item) => /^\s*\d/.test(item);

/** Whether the list that begins with `first` goes on: by an item of its kind, also after an empty line, or by what is indented. */
function continues(first, line, next) {
  const item = line.trim() ? line : next;
  if (kindOf(item) === "list") return /^\s/.test(item) || isNumbered(item) === isNumbered(first);
  return /^\s+\S/.test(line) && kindOf(line) !== "code";
}

const closes = (line, mark) => line.trim().startsWith(mark) && !line.trim().replaceAll(mark[0], "");

/** Shows a text in `place`; blocks that are there already stay. */
function showMarkdown(place, source) {
  const found = blocks(source);
  // A line that turns out to go on with the one before makes one block of two.
  while (place.children.length > found.length) place.lastElementChild.remove();
  found.forEach((block, i) => {
    const key = block.kind + block.lines.join("\n");
    const old = place.children[i];
    if (old?.source === key) return;
    const element = MAKERS[block.kind](block.lines);
    element.source = key;
    if (old) old.replaceWith(element);
    else place.append(element);
  });
}

const MAKERS = {
  text: (lines) => make("p", {}, ...inline(lines.join("\n"))),
  rule: () => make("hr"),
  heading([line]) {
    const [, marks, title] = HEADING.exec(line);
    return make(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(title));
  },
  code(lines) {
    const [, mark, language] = FENCE.exec(lines[0]);
    const indent = lines[0].search(/\S/);
    const open = lines.length === 1 || !closes(lines[lines.length - 1], mark);
    const code = lines.slice(1, open ? undefined : -1).map((line) => line.slice(Math.min(indent, Math.max(0, line.search(/\S/)))));
    const name = language.trim() || "code";
    return make("figure", {},
      make("figcaption", {}, name, copyButton(() => code.join("\n"), "Copy code")),
      make("pre", { tabindex: 0, role: "group", "aria-label": name }, make("code", {}, code.join("\n"))));
  },
  list(lines) {
    const start = (mark) => (/\d/.test(mark) ? make("ol", { start: parseInt(mark, 10) }) : make("ul"));
    const open = [];
    for (const line of lines) {
      const [, space, mark, rest] = ITEM.exec(line) ?? [];
      if (mark === undefined) {
        if (line.trim()) open[open.length - 1].item.append("\n", ...inline(line.trim()));
        continue;
      }
      while (open.length > 1 && space.length < open[open.length - 1].indent) open.pop();
      const deeper = !open.length || space.length > open[open.length - 1].indent + 1;
      if (deeper && open.length < DEEPEST) {
        const list = start(mark);
        open[open.length - 1]?.item.append(list);
        open.push({ indent: space.length, list, item: null });
      }
      const level = open[open.length - 1];
      level.item = make("li", {}, ...inline(rest));
      level.list.append(level.item);
    }
    return open[0].list;
  },
};

/** Code spans, bold and italic parts of a text as nodes. */
function inline(source) {
  const nodes = [];
  let plain = 0;
  for (let i = 0; i < source.length; ) {
    const mark = /^(`+|\*\*|\*)/.exec(source.slice(i, i + 8))?.[1];
    const end = mark ? endOf(source, i, mark) : -1;
    if (end < 0) {
      i += mark?.length ?? 1;
      continue;
    }
    if (plain < i) nodes.push(source.slice(plain, i));
    const inner = source.slice(i + mark.length, end);
    if (mark[0] === "`") nodes.push(make("code", {}, inner));
    else nodes.push(make(mark === "**" ? "strong" : "em", {}, ...inline(inner)));
    i = plain = end + mark.length;
  }
  if (plain < source.length) nodes.push(source.slice(plain));
  return nodes;
}

/** Where the mark at `start` is closed; -1 if it stands for itself, as in `2 * 3 * 4`. */
function endOf(source, start, mark) {
  const after = start + mark.length;
  const end = source.indexOf(mark, after + 1);
  if (end < 0 || mark[0] === "`") return end;
  const sticks = /\S/.test(source[after]) && /\S/.test(source[end - 1]);
  const inWord = mark === "*" && (/\w/.test(source[start - 1] ?? "") || /[\w*]/.test(source[end + 1] ?? ""));
  return sticks && !inWord ? end : -1;
}

// ---- What is shown ----

let name = "Model";
let context = 0;

function complain(message) {
  page.alert.textContent = message;
}

/** Has a screen reader say it. */
function say(message) {
  page.said.append(make("p", {}, message));
}

function copyButton(source, label) {
  const button = make("button", { type: "button", "aria-label": label, click: async () => {
    const done = await copy(source());
    button.textContent = done ? "Copied" : "Not copied";
    say(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  } }, "Copy");
  return button;
}

async function copy(source) {
  // Browsers have no clipboard for pages that come over plain HTTP from another machine, but still the old command.
  if (navigator.clipboard) return navigator.clipboard.writeText(source).then(() => true, () => false);
  const field = make("textarea", { class: "unseen" });
  const focused = document.activeElement;
  field.value = source;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

/** A message's element; `draw` of it shows what the message has become. */
function show(message) {
  const mine = message.role === "user";
  const place = make("div", { class: "text" });
  const article = make("article", { class: message.role }, make("h2", {}, mine ? "You" : name));
  page.empty.hidden = true;
  page.conversation.append(article);
  if (mine) {
    place.textContent = message.content;
    article.append(place);
    return article;
  }
  const thoughts = make("div", { class: "text" });
  const summary = make("summary", {}, "Thinking");
  const details = make("details", { hidden: "" }, summary, thoughts);
  const wrong = make("p", { class: "wrong", hidden: "" });
  const note = make("span", { class: "note" });
  const copies = copyButton(() => message.content, "Copy answer");
  const again = make("button", { type: "button", class: "again", click: regenerate }, "Regenerate");
  article.append(details, place, wrong, make("div", { class: "below" }, note, copies, again));
  article.draw = () => {
    const coming = message.state === "coming";
    const below = page.scroll.scrollHeight - page.scroll.scrollTop - page.scroll.clientHeight;
    article.classList.toggle("coming", coming);
    details.hidden = !message.reasoning;
    summary.textContent = coming && !message.content ? "Thinking …" : "Thinking";
    showMarkdown(thoughts, message.reasoning);
    showMarkdown(place, message.content);
    wrong.hidden = !message.error;
    wrong.textContent = message.error;
    note.textContent = message.note;
    copies.hidden = !message.content;
    again.textContent = message.error ? "Try again" : "Regenerate";
    if (below < 80) toEnd();
  };
  article.draw();
  return article;
}

function toEnd() {
  page.scroll.scrollTop = page.scroll.scrollHeight;
}

function showConversation() {
  page.conversation.replaceChildren();
  page.empty.hidden = conversation.length > 0;
  conversation.forEach(show);
  toEnd();
}

// ---- The server ----

/** What a refusal says, and when to come again. */
async function refusal(response) {
  const said = await response.json().catch(() => null);
  const message = text(said?.error?.message) || `the server answers with status ${response.status}`;
  const after = response.headers.get("Retry-After");
  return new Error(after ? `${message}; worth another try in ${after} s` : message);
}

/** The JSON of server-sent events, as they come; whole only if `[DONE]` came. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the connection ended before the answer did");
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        yield JSON.parse(data);
      }
    }
  } finally {
    // Frees the connection; one that broke is free.
    reader.cancel().catch(() => {});
  }
}

/** Has `message` answered, calling `changed` after every piece. */
async function answer(message, signal, changed) {
  const asked = { method: "POST", headers: { "Content-Type": "application/json", ...headers() }, body: JSON.stringify(body()), signal };
  const since = performance.now();
  const response = await fetch("v1/chat/completions", asked).catch((e) => {
    throw signal.aborted ? e : new Error("the server does not answer; is it running?");
  });
  if (!response.ok) throw await refusal(response);
  let pieces = 0;
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(text(event.error.message) || "the answer failed");
    const choice = event.choices?.[0];
    const delta = choice?.delta ?? {};
    message.reasoning += text(delta.reasoning_content);
    message.content += text(delta.content);
    if (delta.reasoning_content || delta.content) message.note = pace(++pieces, since);
    if (choice?.finish_reason === "length") message.cut = true;
    if (event.usage) message.note = pace(event.usage.completion_tokens, since, event.usage.total_tokens);
    changed();
  }
  if (message.cut) message.note += " · cut off at the limit";
}

/** Tokens over the time since the question was sent: pieces that came at once would make any later start look too fast. */
function pace(tokens, since, total) {
  const seconds = Math.max(performance.now() - since, 1) / 1000;
  const short = (number) => (number < 10 ? number.toFixed(1) : String(Math.round(number)));
  const count = `${tokens} ${tokens === 1 ? "token" : "tokens"}`;
  const speed = `${count} · ${seconds < 1 ? seconds.toFixed(2) : short(seconds)} s · ${short(tokens / seconds)} tok/s`;
  return total && context ? `${speed} · context ${total} of ${context}` : speed;
}

/** What the server has; while it loads, asked for again. */
async function greet() {
  const response = await fetch("v1/models", { headers: headers() }).catch(() => null);
  if (!response) return complain("The server does not answer; is it running?");
  if (response.status === 503) setTimeout(greet, 2000);
  if (response.status === 401) complain("This server wants an API key: give it in the settings.");
  else if (!response.ok) complain((await refusal(response)).message);
  if (!response.ok) return;
  complain("");
  const model = (await response.json()).data[0];
  name = model.id;
  context = model.meta?.context ?? 0;
  document.title = `${name} · chat`;
  byId("name").textContent = name;
  byId("about").textContent = [model.meta?.weights, context && `${context} tokens of context`].filter(Boolean).join(" · ");
  for (const title of document.querySelectorAll("article.assistant > h2")) title.textContent = name;
}

// ---- Asking ----

let running = null;

function setRunning(abort) {
  running = abort;
  document.body.classList.toggle("busy", Boolean(abort));
  const [there, gone] = abort ? [page.stop, page.send] : [page.send, page.stop];
  const focused = document.activeElement === gone;
  there.hidden = false;
  gone.hidden = true;
  if (focused) page.question.focus();
}

/** Whether the settings can be sent; if not, shows which cannot. */
function settingsAreValid() {
  if (page.form.checkValidity()) return true;
  page.settings.showModal();
  page.form.reportValidity();
  return false;
}

/** Has the conversation's last message answered. */
async function ask() {
  const message = { role: "assistant", content: "", reasoning: "", error: "", note: "", state: "coming" };
  const abort = new AbortController();
  const of = conversation;
  of.push(message);
  complain("");
  const article = show(message);
  toEnd();
  setRunning(abort);
  keepConversation();
  const reading = readOut(message);
  let due = 0;
  let kept = performance.now();
  const draw = () => {
    due = 0;
    article.draw();
    reading.lines();
    if (performance.now() - kept > 1000 && of === conversation) {
      keepConversation();
      kept = performance.now();
    }
  };
  try {
    await answer(message, abort.signal, () => (due ||= requestAnimationFrame(draw)));
  } catch (e) {
    if (abort.signal.aborted) message.note = message.note ? `${message.note} · stopped` : "stopped";
    else message.error = e.message;
  }
  cancelAnimationFrame(due);
  message.state = "over";
  // Before the last drawing, which scrolls to the buttons that this shows; a new conversation did so itself.
  if (of === conversation) setRunning(null);
  article.draw();
  reading.end();
  if (of === conversation) keepConversation();
}

/** Has an answer read out line by line, as soon as a line is whole. */
function readOut(message) {
  page.said.replaceChildren();
  let said = 0;
  let thought = false;
  const lines = (end = message.content.lastIndexOf("\n")) => {
    if (!thought && message.reasoning) say("Thinking");
    thought ||= Boolean(message.reasoning);
    const fresh = message.content.slice(said, end).trim();
    if (end > said && fresh) say(fresh);
    said = Math.max(said, end);
  };
  return {
    lines: () => lines(),
    end() {
      lines(message.content.length);
      say(message.error ? `Error: ${message.error}` : message.note.includes("stopped") ? "Stopped" : "End of answer");
      // Read by now, and not to be met a second time by who walks through the page.
      setTimeout(() => running || page.said.replaceChildren(), 20_000);
    },
  };
}

function submit() {
  const content = page.question.value.trim();
  if (running || !content || !settingsAreValid()) return;
  const message = { role: "user", content };
  conversation.push(message);
  show(message);
  page.question.value = "";
  ask();
}

function regenerate() {
  if (running || conversation.at(-1)?.role !== "assistant" || !settingsAreValid()) return;
  conversation.pop();
  page.conversation.lastElementChild.remove();
  page.question.focus();
  ask();
}

function startAfresh() {
  if (conversation.length && !confirm("Forget this conversation?")) return;
  running?.abort();
  conversation = [];
  setRunning(null);
  keepConversation();
  showConversation();
  complain("");
  page.question.focus();
}

// ---- What the reader does ----

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
page.question.addEventListener("keydown", (event) => {
  // While an input method composes, Enter is its own; Safari says so by the code alone.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !event.isComposing && !page.settings.open) running.abort();
});
page.stop.addEventListener("click", () => running?.abort());
byId("fresh").addEventListener("click", startAfresh);
byId("open-settings").addEventListener("click", () => page.settings.showModal());
byId("defaults").addEventListener("click", () => {
  page.form.reset();
  keepSettings();
});
page.form.addEventListener("input", keepSettings);
page.settings.addEventListener("close", greet);
page.dark.addEventListener("click", () => {
  keep("theme", page.dark.getAttribute("aria-pressed") === "true" ? "light" : "dark");
  showTheme();
});
systemIsDark.addEventListener("change", showTheme);
addEventListener("pagehide", () => {
  if (!running) return;
  keepConversation();
  running.abort();
});
addEventListener("storage", (event) => {
  // Another tab of this page wrote.
  if (event.key === PREFIX + "theme") showTheme();
  if (event.key === PREFIX + "settings") showSettings();
  if (event.key !== PREFIX + "conversation" || running) return;
  conversation = loadConversation();
  showConversation();
});

showTheme();
showSettings();
showConversation();
greet();
