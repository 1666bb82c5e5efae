// Spans within a paragraph: emphasis, strike-through, code, links, formulas.
//
// In: the text of a paragraph. Out: nodes. Invariant: a link leads to http, https or mailto, or is shown as its source;
// work grows with the length of the text, whatever is in it.

import { make } from "./dom.js";
import { formula } from "./tex.js";

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const SPECIAL = /[\\`$[\]!<&*_~]|https?:\/\//g;
const LONGEST_FORMULA = 4_000;
/** Spans nest no deeper. */
const DEEPEST = 30;
const ENTITIES = new Map(Object.entries({
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", hellip: "…", ndash: "–", mdash: "—", times: "×",
  rarr: "→", larr: "←", le: "≤", ge: "≥", ne: "≠", deg: "°", euro: "€", bull: "•", middot: "·", ensp: "\u2002", emsp: "\u2003", thinsp: "\u2009",
}));

/** A text as nodes. */
export function inline(source) {
  const scanner = new Scanner(source);
  scanner.scan();
  return emphasise(scanner.items);
}

/** A formula's element, or its source with its delimiters if it cannot be shown. */
export function math(source, display, opening, closing) {
  const shown = formula(source.trim(), display);
  return shown ?? make("code", { class: "tex" }, `${opening}${source}${closing}`);
}

/** Where a link may lead; empty if nowhere. */
export function safeAddress(address) {
  try {
    const { protocol, href } = new URL(address);
    return ["http:", "https:", "mailto:"].includes(protocol) ? href : "";
  } catch {
    return "";
  }
}

function link(address, title, children) {
  const attributes = { href: address, target: "_blank", rel: "noopener noreferrer nofollow" };
  return make("a", title ? { ...attributes, title } : attributes, children);
}

/** Reads a text into items: strings, nodes, and marks whose meaning depends on what follows. */
class Scanner {
  constructor(source) {
    this.source = source;
    this.at = 0;
    this.items = [];
    /** Indexes of the items that are opening brackets. */
    this.brackets = [];
    /** Places of runs of backticks, by their length. */
    this.runs = new Map();
    for (const { 0: run, index } of source.matchAll(/`+/g)) {
      if (!this.runs.has(run.length)) this.runs.set(run.length, []);
      this.runs.get(run.length).push(index);
    }
    /** For each text that ends a formula, its next place; -1 if there is none. */
    this.ends = new Map();
  }

  scan() {
    const { source } = this;
    while (this.at < source.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(source);
      const next = found ? found.index : source.length;
      if (next > this.at) this.items.push(source.slice(this.at, next));
      this.at = next;
      if (found) this.special(found[0]);
    }
  }

  special(c) {
    const { source, at } = this;
    const done = {
      "\\": () => this.escaped(), "`": () => this.code(), "$": () => this.dollar(), "[": () => this.bracket(1), "]": () => this.closeBracket(),
      "!": () => source[at + 1] === "[" && this.bracket(2), "<": () => this.angle(), "&": () => this.entity(), h: () => this.address(),
      "*": () => this.mark(c), _: () => this.mark(c), "~": () => this.mark(c),
    }[c[0]]();
    if (!done) this.add(c, at + c.length);
  }

  /** Adds an item and goes on at `end`. */
  add(item, end) {
    this.items.push(item);
    this.at = end;
    return true;
  }

  escaped() {
    const { source, at } = this;
    const next = source[at + 1] ?? "";
    if (next === "(" && this.formula("\\(", "\\)", false)) return true;
    if (next === "[" && this.formula("\\[", "\\]", true)) return true;
    if (next === "\n") return this.add("\n", at + 2);
    return PUNCTUATION.test(next) && this.add(next, at + 2);
  }

  code() {
    const { source, at } = this;
    const length = /^`+/.exec(source.slice(at, at + 1_000))[0].length;
    const places = this.runs.get(length) ?? [];
    while (places.length && places[0] <= at) places.shift();
    if (!places.length) return this.add(source.slice(at, at + length), at + length);
    let inner = source.slice(at + length, places[0]).replaceAll("\n", " ");
    if (/^ .*[^ ].* $/.test(inner.length < 1_000 ? inner : "")) inner = inner.slice(1, -1);
    return this.add(make("code", {}, inner), places[0] + length);
  }

  dollar() {
    const { source, at } = this;
    if (source[at + 1] === "$") return this.formula("$$", "$$", true) || this.add("$$", at + 2);
    // As Pandoc has it, so that prices are none: no space inside the dollars, no digit after them.
    if (/[\s$]/.test(source[at + 1] ?? " ") || /[\w$]/.test(source[at - 1] ?? "")) return false;
    let end = at + 1;
    while (end < source.length && end - at < LONGEST_FORMULA && source[end] !== "$") end += source[end] === "\\" ? 2 : 1;
    const inner = source.slice(at + 1, end);
    const isFormula = source[end] === "$" && !/\s$/.test(inner.slice(-1)) && !/[\w]/.test(source[end + 1] ?? "") && !/\n\s*\n/.test(inner);
    // Nor are words between two prices a formula.
    if (!isFormula || /^[\d.,]+[kKmMbB]?\s+[A-Za-z]{2,}/.test(inner)) return false;
    return this.add(math(inner, false, "$", "$"), end + 1);
  }

  formula(opening, closing, display) {
    const { source, at } = this;
    const from = at + opening.length;
    // Looked for once, not again by each beginning before it.
    let end = this.ends.get(closing);
    if (end === undefined || (end >= 0 && end < from)) end = source.indexOf(closing, from);
    this.ends.set(closing, end);
    if (end < 0 || end === from || end - from > LONGEST_FORMULA) return false;
    return this.add(math(source.slice(from, end), display, opening, closing), end + closing.length);
  }

  bracket(length) {
    this.brackets.push(this.items.length);
    return this.add({ bracket: true, image: length === 2, text: this.source.slice(this.at, this.at + length) }, this.at + length);
  }

  closeBracket() {
    const opened = this.brackets.pop();
    if (opened === undefined) return false;
    const target = /^\]\(\s*(?:<([^<>\n]*)>|((?:[^\s()<>\\]|\\[!-/:-@[-`{-~]|\([^\s()]*\))*))(?:\s+(?:"([^"]*)"|'([^']*)'))?\s*\)/.exec(this.source.slice(this.at, this.at + 3_000));
    if (!target) return false;
    const address = safeAddress((target[1] ?? target[2]).replaceAll(/\\([!-/:-@[-`{-~])/g, "$1"));
    const { image, text: mark } = this.items[opened];
    if (!address) {
      // The reader sees what it was, and can follow it nowhere.
      this.items[opened] = mark;
      return this.add(target[0], this.at + target[0].length);
    }
    const inner = this.items.splice(opened).slice(1);
    while (!image && this.brackets.length) this.brackets.pop();
    const children = emphasise(inner);
    return this.add(link(address, target[3] ?? target[4], children.length ? children : [address]), this.at + target[0].length);
  }

  angle() {
    const rest = this.source.slice(this.at, this.at + 2_000);
    const br = /^<br\s*\/?>/i.exec(rest);
    if (br) return this.add(make("br"), this.at + br[0].length);
    const auto = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(rest);
    const address = auto && safeAddress(auto[1]);
    return Boolean(address) && this.add(link(address, "", [auto[1]]), this.at + auto[0].length);
  }

  entity() {
    const found = /^&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z]{2,8}));/.exec(this.source.slice(this.at, this.at + 12));
    if (!found) return false;
    const code = found[1] ? Number(found[1]) : parseInt(found[2] ?? "", 16);
    const c = found[3] ? ENTITIES.get(found[3]) : code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000) ? String.fromCodePoint(code) : "\ufffd";
    return c !== undefined && this.add(c, this.at + found[0].length);
  }

  /** An address as it stands in a text, without the punctuation behind it. */
  address() {
    const { source, at } = this;
    if (!source.startsWith("http", at) || /\w/.test(source[at - 1] ?? "")) return false;
    const found = /^https?:\/\/[^\s<>`"\u3000-\u303f\uff00-\uffef]+/.exec(source.slice(at, at + 2_000));
    if (!found) return false;
    let written = found[0].replace(/[?!.,:;*_~'$\\]+$/, "");
    const count = (c) => written.split(c).length;
    while (/[)\]]$/.test(written) && count(written.at(-1)) > count(written.endsWith(")") ? "(" : "[")) written = written.slice(0, -1).replace(/[?!.,:;*_~']+$/, "");
    const address = safeAddress(written);
    return Boolean(address) && this.add(link(address, "", [written]), at + written.length);
  }

  /** A run of asterisks, underscores or tildes, and whether it can begin or end a span (CommonMark 0.31, 6.2). */
  mark(c) {
    const { source, at } = this;
    let end = at;
    while (source[end] === c) end++;
    const before = charBefore(source, at);
    const after = String.fromCodePoint(source.codePointAt(end) ?? 32);
    const space = (c) => /\s/u.test(c);
    // Where words are not apart by spaces, as in Chinese, letters beside punctuation end and begin spans too.
    const apart = (c) => /[\s\p{P}\p{S}\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}]/u.test(c);
    const punctuation = (c) => /[\p{P}\p{S}]/u.test(c);
    const left = !space(after) && (!punctuation(after) || apart(before));
    const right = !space(before) && (!punctuation(before) || apart(after));
    const open = c === "_" ? left && (!right || punctuation(before)) : left;
    const close = c === "_" ? right && (!left || punctuation(after)) : right;
    const length = end - at;
    if (!(open || close) || (c === "~" && length !== 2)) return this.add(source.slice(at, end), end);
    return this.add({ mark: c, length, original: length, open, close }, end);
  }
}

const charBefore = (source, at) => {
  const low = /[\udc00-\udfff]/.test(source[at - 1] ?? "");
  return source.slice(at - (low ? 2 : 1), at) || " ";
};

/** Pairs marks that open and close spans (CommonMark 0.31, appendix: process emphasis); what is left is text. */
function emphasise(items) {
  /** Places in `out` of marks that may still open a span: the last ones, which bounds how deep spans nest. */
  const open = [];
  const out = [];
  for (const item of items) {
    while (item.mark && item.close && item.length) {
      let i = open.length - 1;
      while (i >= 0 && !matches(out[open[i]], item)) i--;
      if (i < 0) break;
      wrap(out, open, i, item);
    }
    if (item.mark && item.open && item.length) {
      if (open.length === DEEPEST) open.shift();
      open.push(out.length);
    }
    if (item.length !== 0) out.push(item);
  }
  return nodes(out);
}

/** Items as nodes and strings, of which no two are neighbours. */
function nodes(items) {
  const found = [];
  for (const item of items) {
    const node = item.mark ? item.mark.repeat(item.length) : item.bracket ? item.text : item;
    if (typeof node === "string" && typeof found.at(-1) === "string") found[found.length - 1] += node;
    else if (node !== "") found.push(node);
  }
  return found;
}

function matches(opener, closer) {
  if (opener.mark !== closer.mark) return false;
  const either = opener.close || closer.open;
  return !either || (opener.original + closer.original) % 3 !== 0 || (opener.original % 3 === 0 && closer.original % 3 === 0);
}

/** Makes a span of what stands between the opening mark of `open[i]` and the end of `out`. */
function wrap(out, open, i, closer) {
  const opener = out[open[i]];
  const strong = opener.length >= 2 && closer.length >= 2;
  const [tag, used] = closer.mark === "~" ? ["del", 2] : strong ? ["strong", 2] : ["em", 1];
  const inner = nodes(out.splice(open[i] + 1));
  opener.length -= used;
  closer.length -= used;
  open.length = i + 1;
  if (!opener.length) {
    out.pop();
    open.pop();
  }
  out.push(make(tag, {}, inner));
}
