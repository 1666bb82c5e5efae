// Markdown as models write it: CommonMark's blocks, GitHub's tables and task lists, formulas.
//
// In: a text that may end anywhere. Out: elements. Invariant: blocks that did not change keep their elements while the
// text grows; HTML in the text is shown as text; no text takes longer than its length (lists and quotes nest 16 deep).

import { copyButton, make } from "./dom.js";
import { inline, math } from "./inline.js";

const FENCE = /^\s{0,12}(```+(?!`)|~~~+(?!~))([^`]*)$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|(?:\*[ \t]*){3,})$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const UNDERLINE = /^ {0,3}(===+|---+)[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*))?$/;
const TASK = /^\[([ xX])\]\s+/;
/** Deeper lists and quotes are shown as this deep. */
const DEEPEST = 16;
/** Lines that a formula may have. */
const LONGEST_FORMULA = 200;

/** Shows a text in `place`; blocks that are there already stay. */
export function showMarkdown(place, source) {
  const found = blocks(source.split(/\r?\n/).map(untabbed), 0);
  // A line that turns out to go on with the one before makes one block of two.
  while (place.children.length > found.length) place.lastElementChild.remove();
  found.forEach((block, i) => {
    const key = block.kind + block.lines.join("\n");
    const old = place.children[i];
    if (old?.source === key) return;
    const element = MAKERS[block.kind](block, 0);
    element.source = key;
    if (old) old.replaceWith(element);
    else place.append(element);
  });
}

/** Tabs at the beginning as spaces. */
const untabbed = (line) => line.replace(/^[ \t]*\t/, (space) => space.replaceAll("\t", "    "));
const indentOf = (line) => line.length - line.trimStart().length;
const isBlank = (line) => !line.trim();

/** The kind of block that begins at a line; empty for a blank line. */
function kindOf(lines, i) {
  const line = lines[i];
  if (isBlank(line)) return "";
  if (FENCE.test(line)) return "code";
  if (RULE.test(line)) return "rule";
  if (HEADING.test(line)) return "heading";
  if (QUOTE.test(line)) return "quote";
  if (ITEM.test(line)) return "list";
  if (isTable(lines, i)) return "table";
  if (formulaEnd(lines, i)) return "formula";
  return "text";
}

/** Cuts lines into blocks. */
function blocks(lines, depth) {
  const found = [];
  for (let i = 0; i < lines.length; ) {
    let kind = kindOf(lines, i);
    // Indented code; after a paragraph it would be a part of that.
    if (/^(text|table)$/.test(kind) && indentOf(lines[i]) >= 4) kind = "indented";
    if (depth >= DEEPEST && kind === "quote") kind = "text";
    const first = i;
    i = kind ? ENDS[kind](lines, i, depth) : i + 1;
    if (kind === "text" && i < lines.length && i > first && UNDERLINE.test(lines[i])) {
      found.push({ kind: "underlined", lines: lines.slice(first, ++i) });
    } else if (kind) found.push({ kind, lines: lines.slice(first, i) });
  }
  return found;
}

/** For each kind of block the line after it. */
const ENDS = {
  rule: (_, i) => i + 1,
  heading: (_, i) => i + 1,
  formula: (lines, i) => formulaEnd(lines, i),
  code(lines, i) {
    const mark = FENCE.exec(lines[i])[1];
    let end = i + 1;
    while (end < lines.length && !closes(lines[end], mark)) end++;
    return Math.min(end + 1, lines.length);
  },
  indented(lines, i) {
    let end = i + 1;
    for (let next = end; next < lines.length && (isBlank(lines[next]) || indentOf(lines[next]) >= 4); next++) {
      if (!isBlank(lines[next])) end = next + 1;
    }
    return end;
  },
  text(lines, i) {
    let end = i + 1;
    while (end < lines.length && isTextAfterText(lines, end)) end++;
    return end;
  },
  quote(lines, i) {
    let end = i + 1;
    while (end < lines.length && (QUOTE.test(lines[end]) || (!isBlank(lines[end - 1].replace(QUOTE, "")) && kindOf(lines, end) === "text"))) end++;
    return end;
  },
  table(lines, i) {
    let end = i + 2;
    while (end < lines.length && kindOf(lines, end) === "text") end++;
    return end;
  },
  list: (lines, i, depth) => listEnd(lines, i, depth),
};

/** Whether a line goes on with the paragraph before it; a mark without a text begins no list there. */
function isTextAfterText(lines, i) {
  if (UNDERLINE.test(lines[i])) return false;
  const kind = kindOf(lines, i);
  return kind === "text" || (kind === "list" && !ITEM.exec(lines[i])[4]);
}

const closes = (line, mark) => line.trim().startsWith(mark) && !line.trim().replaceAll(mark[0], "");
const isNumbered = (mark) => /\d/.test(mark);

/** Walks through a list; calls `item` at each line that begins an item. Returns the line after the list. */
function listEnd(lines, first, depth, item = () => {}) {
  const [, space, mark] = ITEM.exec(lines[first]);
  const own = depth >= DEEPEST ? Infinity : space.length + 1;
  const opens = (line) => FENCE.exec(ITEM.exec(line)?.[4] ?? line)?.[1] ?? "";
  item(first);
  let fence = opens(lines[first]);
  let i = first + 1;
  for (; i < lines.length; i++) {
    const line = lines[i];
    if (fence) {
      if (closes(line, fence)) fence = "";
      continue;
    }
    if (isBlank(line)) continue;
    const blank = isBlank(lines[i - 1]);
    const inside = indentOf(line) > own;
    if (inside || (depth >= DEEPEST && indentOf(line) && FENCE.test(line))) fence = opens(line);
    else {
      const kind = kindOf(lines, i);
      const next = kind === "list" ? ITEM.exec(line) : null;
      if (next && (isNumbered(next[2]) === isNumbered(mark)) && (next[2].at(-1) === mark.at(-1))) {
        item(i);
        fence = opens(line);
      }
      else if (blank || kind !== "text") break;
    }
  }
  while (isBlank(lines[i - 1])) i--;
  return i;
}

/** The cells of a table's row. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/([^\\]|^)\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** Whether a table's head and the line below it stand here. */
function isTable(lines, i) {
  const below = lines[i + 1];
  if (!below || !lines[i].includes("|") || !/^[\s|:-]+$/.test(below) || !below.includes("|")) return false;
  const marks = cells(below);
  return marks.every((mark) => /^:?-+:?$/.test(mark)) && cells(lines[i]).length === marks.length;
}

/** The delimiters of the formula that begins a line, if one does. */
function delimiters(line) {
  const begun = line.trimStart();
  if (begun.startsWith("$$")) return ["$$", "$$"];
  if (begun.startsWith("\\[")) return ["\\[", "\\]"];
  const environment = /^\\begin\{(align|equation|gather|multline|eqnarray|alignat|flalign|displaymath|math)(\*?)\}/.exec(begun);
  return environment ? [environment[0], environment[0].replace("begin", "end")] : null;
}

/** The line after a formula on lines of its own that begins here; 0 if none does, or its end has not come. */
function formulaEnd(lines, i) {
  const marks = delimiters(lines[i]);
  if (!marks) return 0;
  const [opening, closing] = marks;
  const last = Math.min(lines.length, i + LONGEST_FORMULA);
  for (let line = i; line < last; line++) {
    const rest = line === i ? lines[i].trimStart().slice(opening.length) : lines[line];
    if (rest.includes(closing)) return /^[\s.,;]*$/.test(rest.slice(rest.indexOf(closing) + closing.length)) ? line + 1 : 0;
    if (line > i && rest.includes(opening)) return 0;
  }
  return 0;
}

/** Elements of blocks. */
const children = (lines, depth) => blocks(lines, depth).map((block) => MAKERS[block.kind](block, depth));
const withoutBreaks = (lines) => lines.map((line) => line.trim()).join("\n");

const MAKERS = {
  text: ({ lines }) => make("p", {}, inline(withoutBreaks(lines))),
  rule: () => make("hr"),
  heading({ lines: [line] }) {
    const [, marks, title = ""] = HEADING.exec(line);
    const closed = /[ \t]#+[ \t]*$/.test(title.slice(-20)) ? title.replace(/#+[ \t]*$/, "") : title;
    return make(`h${Math.min(6, marks.length + 2)}`, {}, inline(closed.trim()));
  },
  underlined: ({ lines }) => make(lines.at(-1).includes("=") ? "h3" : "h4", {}, inline(withoutBreaks(lines.slice(0, -1)))),
  quote({ lines }, depth) {
    return make("blockquote", {}, children(lines.map((line) => line.replace(QUOTE, "")), depth + 1));
  },
  indented: ({ lines }) => codeBlock("code", lines.map((line) => line.slice(4)).join("\n")),
  code({ lines }) {
    const [, mark, language] = FENCE.exec(lines[0]);
    const indent = indentOf(lines[0]);
    const open = lines.length === 1 || !closes(lines.at(-1), mark);
    const code = lines.slice(1, open ? undefined : -1).map((line) => line.slice(Math.min(indent, indentOf(line)))).join("\n");
    const name = language.trim().split(/\s/)[0];
    if (name === "math" && !open) return make("div", { class: "formula", tabindex: 0 }, math(code, true, "```math\n", "\n```"));
    return codeBlock(name || "code", code);
  },
  formula({ lines }) {
    const whole = lines.join("\n").trim();
    const [opening, closing] = delimiters(whole);
    const end = whole.lastIndexOf(closing);
    const isEnvironment = opening.startsWith("\\begin");
    const source = isEnvironment ? whole.slice(0, end + closing.length) : whole.slice(opening.length, end);
    const shown = isEnvironment ? math(source, true, "", "") : math(source, true, opening, closing);
    return make("div", { class: "formula", tabindex: 0 }, shown, whole.slice(end + closing.length).trim());
  },
  table({ lines }) {
    const classes = cells(lines[1]).map((mark) => (/^:-+:$/.test(mark) ? "center" : mark.endsWith(":") ? "right" : "left"));
    const row = (line, tag) => {
      const found = cells(line);
      return make("tr", {}, classes.map((align, i) => make(tag, tag === "th" ? { class: align, scope: "col" } : { class: align }, inline(found[i] ?? ""))));
    };
    const body = lines.slice(2).map((line) => row(line, "td"));
    const table = make("table", {}, make("thead", {}, row(lines[0], "th")), make("tbody", {}, body));
    return make("div", { class: "table", tabindex: 0, role: "group", "aria-label": "Table" }, table);
  },
  list({ lines }, depth) {
    const starts = [];
    listEnd(lines, 0, depth, (i) => starts.push(i));
    const mark = ITEM.exec(lines[0])[2];
    const loose = starts.some((start) => start > 0 && isBlank(lines[start - 1]));
    const items = starts.map((start, i) => listItem(lines.slice(start, starts[i + 1]), loose, depth + 1));
    return isNumbered(mark) ? make("ol", { start: parseInt(mark, 10) }, items) : make("ul", {}, items);
  },
};

function codeBlock(name, code) {
  return make("figure", {},
    make("figcaption", {}, name, copyButton(() => code, "Copy code")),
    make("pre", { tabindex: 0, role: "group", "aria-label": name }, make("code", {}, code)));
}

/** An item; where items are not apart by blank lines its first paragraph is none of its own. */
function listItem([first, ...others], loose, depth) {
  const [, space, mark, gap = " ", rest = ""] = ITEM.exec(first);
  const content = space.length + mark.length + (gap.length > 4 ? 1 : gap.length);
  const own = rest.trim() ? gap.slice(gap.length > 4 ? 1 : gap.length) + rest : "";
  const nested = others.filter((line) => !isBlank(line)).map(indentOf).filter((indent) => indent > space.length + 1);
  // Models indent what belongs to an item by two, three or four spaces, whatever its mark.
  const indent = nested.reduce((least, indent) => Math.min(least, indent), content);
  const lines = [own, ...others.map((line) => line.slice(Math.min(indent, indentOf(line))))];
  const item = make("li");
  const task = TASK.exec(lines[0]);
  if (task) {
    lines[0] = lines[0].slice(task[0].length);
    const done = task[1] !== " ";
    item.classList.add("task");
    item.append(make("input", { type: "checkbox", disabled: "", "aria-label": done ? "done" : "to do", ...(done ? { checked: "" } : {}) }), " ");
  }
  const inner = depth < DEEPEST ? children(lines, depth) : flat(lines, depth);
  if (!loose && inner[0]?.localName === "p") inner.splice(0, 1, ...inner[0].childNodes);
  for (const node of inner) item.append(node);
  return item;
}

/** What is nested too deep, as a list that goes no deeper. */
function flat([first, ...others], depth) {
  const head = make("p", {}, inline(first.trim()));
  return others.some((line) => !isBlank(line)) ? [head, ...children(others, depth)] : [head];
}
