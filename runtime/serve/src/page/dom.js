// Elements of the page: those of index.html by name, and new ones.
//
// In: names, attributes, texts. Out: elements. Invariant: a string becomes a text node, never markup.

export const byId = (id) => document.getElementById(id);

/** A value of unknown type as a string; empty if it is none. */
export const text = (value) => (typeof value === "string" ? value : "");

/** A number as people read it. */
export const number = (n) => n.toLocaleString("en");

/** An element with attributes and children, also lists of them; a function among the attributes listens to its event. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  for (const child of children.flat()) element.append(child);
  return element;
}

/** Shows a message to the reader above the question; an empty one goes away. */
export function complain(message) {
  byId("alert").textContent = message;
}

/** Has a screen reader say it. */
export function say(message) {
  byId("said").append(make("p", {}, message));
}

/** A button that copies what `source` returns. */
export function copyButton(source, label) {
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
