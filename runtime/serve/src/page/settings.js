// The settings and the theme.
//
// In: the settings' form. Out: fields of requests. Invariant: a field that is left empty is not sent, so that the model's
// own value holds; a value that cannot be sent is shown to the reader before anything is asked.

import { byId } from "./dom.js";
import { keep, load } from "./store.js";

const dialog = byId("settings");
const form = dialog.querySelector("form");
const dark = byId("dark");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const fields = () => [...form.elements].filter((field) => field.name);

export function showSettings() {
  const stored = load("settings", {});
  for (const field of fields()) field.value = typeof stored[field.name] === "string" ? stored[field.name] : "";
}

const keepSettings = () => keep("settings", Object.fromEntries(fields().map((field) => [field.name, field.value])));

/** The settings as fields of a request, and the system message. */
export function chosen() {
  const value = Object.fromEntries(fields().map((field) => [field.name, field.value.trim()]));
  const request = {};
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "seed"]) {
    if (value[name]) request[name] = Number(value[name]);
  }
  if (value.thinking) request.chat_template_kwargs = { enable_thinking: value.thinking === "on" };
  return { request, system: value.system };
}

/** The headers that show the API key. */
export function keyHeaders() {
  const { value, validity } = form.elements.key;
  return value && validity.valid ? { Authorization: `Bearer ${value}` } : {};
}

/** Whether the settings can be sent; if not, shows which cannot. */
export function settingsAreValid() {
  if (form.checkValidity()) return true;
  dialog.showModal();
  form.reportValidity();
  return false;
}

/** Shows the chosen theme, or else the system's. */
export function showTheme() {
  const theme = load("theme", "");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  dark.setAttribute("aria-pressed", String(theme ? theme === "dark" : systemIsDark.matches));
}

/** Has the settings work; `changed` is called when they are closed. */
export function startSettings(changed) {
  byId("open-settings").addEventListener("click", () => dialog.showModal());
  byId("defaults").addEventListener("click", () => {
    form.reset();
    keepSettings();
  });
  form.addEventListener("input", keepSettings);
  dialog.addEventListener("close", changed);
  dark.addEventListener("click", () => {
    keep("theme", dark.getAttribute("aria-pressed") === "true" ? "light" : "dark");
    showTheme();
  });
  systemIsDark.addEventListener("change", showTheme);
  showTheme();
  showSettings();
}
