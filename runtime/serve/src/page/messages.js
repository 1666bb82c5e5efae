// Messages as the reader sees them, with what can be done about each.
//
// In: messages of a conversation. Out: articles; `draw` of an answer's article shows what the answer has become.
// Invariant: the text of a message is shown as Markdown (answers) or as it is (questions), never as markup.

import { byId, copyButton, make } from "./dom.js";
import { showMarkdown } from "./markdown.js";
import { model } from "./server.js";

const scroll = document.querySelector("main");

export function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
}

/** The article of a message. `actions`: what its buttons call: `edit`, `again`, `leaveOut`. */
export function show(message, actions) {
  const article = message.role === "user" ? showQuestion(message, actions) : showAnswer(message, actions);
  article.classList.toggle("left", Boolean(message.left));
  byId("conversation").append(article);
  return article;
}

const button = (label, kind, click) => make("button", { type: "button", class: kind, click }, label);
const leftNote = () => make("p", { class: "left-note" }, "Left out: the model does not get this any more.");

function showQuestion(message, actions) {
  const place = make("div", { class: "text" }, message.content);
  const files = message.files.map((file) => attachment(file));
  const below = make("div", { class: "below" }, copyButton(() => message.content, "Copy question"));
  const article = make("article", { class: "user" }, make("h2", {}, "You"), leftNote(), files, place, below);
  place.hidden = !message.content;
  article.edit = () => {
    if (article.querySelector("form")) return;
    const form = editor(message.content, (content) => actions.edit(message, content), () => {
      form.remove();
      place.hidden = !message.content;
      below.hidden = false;
      edit.focus();
    });
    place.hidden = below.hidden = true;
    article.append(form);
    form.querySelector("textarea").focus();
  };
  const edit = button("Edit", "edit", article.edit);
  edit.setAttribute("aria-label", "Edit question");
  below.append(edit);
  return article;
}

/** A file that was sent with a question. */
function attachment(file) {
  const text = make("pre", { tabindex: 0, role: "group", "aria-label": file.name }, make("code", {}, file.text));
  return make("details", { class: "file" }, make("summary", {}, file.name), text);
}

/** A form to change a question in its place. */
function editor(content, send, cancel) {
  const field = make("textarea", { rows: 3, "aria-label": "Edit question", "aria-describedby": "edit-hint" });
  field.value = content;
  const done = () => field.value.trim() && send(field.value.trim());
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") cancel();
    else if (event.key === "Enter" && !event.shiftKey) done();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const buttons = make("div", { class: "buttons" }, button("Cancel", "cancel", cancel), make("button", { type: "submit", class: "main" }, "Send again"));
  const hint = make("p", { class: "hint", id: "edit-hint" }, "What follows this question is replaced by the new answer.");
  return make("form", { class: "editor", submit: (event) => {
    event.preventDefault();
    done();
  } }, field, hint, buttons);
}

function showAnswer(message, actions) {
  const place = make("div", { class: "text" });
  const thoughts = make("div", { class: "text" });
  const summary = make("summary", {}, "Thinking");
  const details = make("details", { hidden: "" }, summary, thoughts);
  const problem = make("p", {});
  const said = make("details", {}, make("summary", {}, "What the server said"), make("p", { class: "detail" }));
  const leaveOut = button("Leave out the oldest messages", "leave-out", () => actions.leaveOut(message));
  const wrong = make("div", { class: "wrong", hidden: "" }, problem, said);
  const note = make("span", { class: "note" });
  const copies = copyButton(() => message.content, "Copy answer");
  const again = button("Regenerate", "again", () => actions.again(message));
  const article = make("article", { class: "assistant" }, make("h2", {}, model.name), leftNote(), details, place, wrong, make("div", { class: "below" }, note, copies, again, leaveOut));
  article.draw = () => {
    const coming = message.state === "coming";
    const below = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
    article.classList.toggle("coming", coming);
    details.hidden = !message.reasoning;
    summary.textContent = coming && !message.content ? "Thinking …" : "Thinking";
    showMarkdown(thoughts, message.reasoning);
    showMarkdown(place, message.content);
    wrong.hidden = !message.error;
    problem.textContent = message.error;
    said.hidden = !message.detail;
    said.lastElementChild.textContent = message.detail;
    note.textContent = message.note;
    copies.hidden = !message.content;
    again.textContent = message.error ? "Try again" : "Regenerate";
    leaveOut.hidden = !message.full || !actions.canLeaveOut();
    if (below < 80) toEnd();
  };
  article.draw();
  return article;
}
