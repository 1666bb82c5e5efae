// Formulas in TeX as MathML, which browsers show by themselves.
//
// In: the source of a formula, without its delimiters. Out: a <math> element; null if anything in the source is unknown,
// so that the reader sees the source instead of a formula that lacks a part. Invariant: elements and attributes are named
// here; nothing of the source becomes more than text.

import {
  ACCENTS, ALPHABETS, ENVIRONMENTS, FUNCTIONS, LARGE, LETTERS, LIMITS, OPERATORS, SILENT, SILENT_WITH_ARGUMENT, SPACES, UNDER, WIDE, inAlphabet, isIntegral,
} from "./tex-symbols.js";

const NAMESPACE = "http://www.w3.org/1998/Math/MathML";
const DEEPEST = 60;
const LONGEST = 20_000;

function make(tag, attributes, ...children) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const row = (nodes) => (nodes.length === 1 ? nodes[0] : make("mrow", {}, ...nodes));
const operator = (c, attributes) => make("mo", attributes, c);

/** A formula; `display`: on lines of its own. */
export function formula(source, display) {
  if (source.length > LONGEST) return null;
  const parser = new Parser(source, display);
  try {
    const annotation = make("annotation", { encoding: "application/x-tex" }, source);
    return make("math", { display: display ? "block" : "inline" }, make("semantics", {}, parser.whole(), annotation));
  } catch (problem) {
    if (problem instanceof Unknown) return null;
    throw problem;
  }
}

/** Thrown at what this parser does not know. */
class Unknown extends Error {}

const TOKEN = /(?<space>\s+)|\\(?<command>[A-Za-z]+|[^A-Za-z])|(?<number>\d+(?:[.,]\d+)*)|(?<char>.)/suy;

class Parser {
  constructor(source, display) {
    this.source = source;
    this.display = display;
    this.at = 0;
    this.depth = 0;
    this.next();
  }

  /** Goes to the next token, past white space. */
  next() {
    const passed = this.token;
    do {
      TOKEN.lastIndex = this.at;
      this.start = this.at;
      const found = TOKEN.exec(this.source);
      if (!found && this.at < this.source.length) throw new Unknown();
      this.at = found ? TOKEN.lastIndex : this.at;
      const [kind, value] = found ? Object.entries(found.groups).find(([, value]) => value !== undefined) : ["end", ""];
      this.token = { kind, value };
    } while (this.token.kind === "space");
    return passed;
  }

  is(kind, value) {
    return this.token.kind === kind && this.token.value === value;
  }

  take(kind, value) {
    if (!this.is(kind, value)) throw new Unknown();
    this.next();
  }

  /** Everything; line breaks outside of environments make rows. */
  whole() {
    const lines = [];
    const breaks = () => this.token.kind === "end" || this.is("command", "\\");
    for (;;) {
      lines.push(row(this.nodes(breaks)));
      if (this.token.kind === "end") break;
      this.next();
    }
    if (lines.length === 1) return make("mrow", {}, lines[0]);
    return make("mtable", { displaystyle: String(this.display) }, ...lines.map((line) => make("mtr", {}, make("mtd", {}, line))));
  }

  /** Everything until `end` holds. */
  nodes(end) {
    if (++this.depth > DEEPEST) throw new Unknown();
    const nodes = [];
    while (!end()) {
      if (this.token.kind === "end") throw new Unknown();
      // Of old TeX: what stands before is the upper part, what follows the lower one.
      if (this.is("command", "over") || this.is("command", "choose")) {
        const choose = this.next().value === "choose";
        const rest = this.nodes(end);
        this.depth--;
        const parts = make("mfrac", choose ? { linethickness: "0" } : {}, row(nodes), row(rest));
        return [choose ? bracketed(parts) : parts];
      }
      const node = this.scripted();
      if (node) nodes.push(node);
    }
    this.depth--;
    return nodes;
  }

  /** An operand or operator with what stands above and below it. */
  scripted() {
    const bare = this.is("char", "^") || this.is("char", "_") || this.is("char", "'");
    const base = bare ? make("mrow", {}) : this.atom();
    if (!base) return null;
    let [sub, sup, primes] = [null, null, ""];
    let limits = base.limits;
    for (;;) {
      if (this.is("command", "limits") || this.is("command", "nolimits")) {
        limits = this.next().value === "limits" ? "always" : "";
      } else if (this.is("char", "'")) {
        this.next();
        primes += "′";
      } else if (this.is("char", "^") && !sup) {
        this.next();
        sup = this.argument();
      } else if (this.is("char", "_") && !sub) {
        this.next();
        sub = this.argument();
      } else if (this.is("char", "^") || this.is("char", "_")) {
        throw new Unknown();
      } else break;
    }
    if (primes) sup = row([operator(primes), ...(sup ? [sup] : [])]);
    if (!sub && !sup) return base;
    const over = limits === "always" || (limits === "display" && this.display);
    const [both, below, above] = over ? ["munderover", "munder", "mover"] : ["msubsup", "msub", "msup"];
    if (sub && sup) return make(both, {}, base, sub, sup);
    return sub ? make(below, {}, base, sub) : make(above, {}, base, sup);
  }

  /** A group in braces, or a single operand. */
  argument() {
    if (this.is("char", "{")) return this.group();
    if (this.token.kind === "number") {
      // Without braces an argument is one digit.
      const digit = this.token.value[0];
      this.at = this.start + 1;
      this.next();
      return make("mn", {}, digit);
    }
    if (this.token.kind === "end" || this.is("char", "}") || this.is("char", "&")) throw new Unknown();
    return this.atom() ?? this.argument();
  }

  group() {
    this.take("char", "{");
    const nodes = this.nodes(() => this.is("char", "}"));
    this.next();
    return row(nodes);
  }

  /** An argument as it is written: of \text and such. */
  raw() {
    if (!this.is("char", "{")) return this.next().value;
    let deep = 1;
    let end = this.start + 1;
    for (; end < this.source.length && deep; end++) {
      const c = this.source[end];
      if (c === "\\") end++;
      else deep += c === "{" ? 1 : c === "}" ? -1 : 0;
    }
    if (deep) throw new Unknown();
    const inner = this.source.slice(this.start + 1, end - 1);
    this.at = end;
    this.next();
    return inner;
  }

  /** An argument in brackets; null if there is none. */
  optional() {
    if (!this.is("char", "[")) return null;
    this.next();
    const nodes = this.nodes(() => this.is("char", "]"));
    this.next();
    return row(nodes);
  }

  atom() {
    const { kind, value } = this.token;
    if (kind === "char" && value === "{") return this.group();
    if (kind === "char" && (value === "}" || value === "&" || value === "#")) throw new Unknown();
    this.next();
    if (kind === "number") return make("mn", {}, value);
    if (kind === "command") return this.command(value);
    if (/\p{L}/u.test(value)) return make(value > "\u02ff" && !/[Ͱ-Ͽ]/.test(value) ? "mtext" : "mi", {}, value);
    const shown = { "-": "−", "*": "∗", "~": "\u00a0" }[value] ?? value;
    // Only \left and \right make brackets grow.
    return operator(shown, /[()[\]|/]/.test(value) ? { stretchy: "false" } : {});
  }

  command(name) {
    if (LETTERS.has(name)) return make("mi", {}, LETTERS.get(name));
    if (OPERATORS.has(name)) return operator(OPERATORS.get(name), { stretchy: "false" });
    if (LARGE.has(name)) return this.large(LARGE.get(name));
    if (FUNCTIONS.has(name)) return this.named(name, "");
    if (LIMITS.has(name)) return this.named(LIMITS.get(name), "display");
    if (SPACES.has(name)) return make("mspace", { width: `${SPACES.get(name)}em` });
    if (ALPHABETS[name]) return this.alphabet(ALPHABETS[name]);
    if (ACCENTS.has(name)) return make("mover", { accent: "true" }, this.argument(), operator(ACCENTS.get(name), { stretchy: "false" }));
    if (WIDE.has(name)) return this.stretched("mover", WIDE.get(name));
    if (UNDER.has(name)) return this.stretched("munder", UNDER.get(name));
    if (SILENT.has(name)) return null;
    if (SILENT_WITH_ARGUMENT.has(name)) {
      this.raw();
      return null;
    }
    if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name](this, name);
    if (/^[{}|%$#&_]$/.test(name)) return operator(name === "|" ? "‖" : name, { stretchy: "false" });
    throw new Unknown();
  }

  large(c) {
    const node = operator(c, { largeop: "true", movablelimits: "false" });
    node.limits = isIntegral(c) ? "" : "display";
    return node;
  }

  named(name, limits) {
    const node = make("mi", name.length === 1 ? { mathvariant: "normal" } : {}, name.replace(" ", "\u2009"));
    node.limits = limits;
    // A thin space before an operand, none before brackets and scripts.
    const apart = /^[A-Za-z\d]$/.test(this.token.value[0] ?? "") || (this.token.kind === "command" && !/^(left|big|Big|limits|nolimits|,|;|:|!)/.test(this.token.value) && !OPERATORS.has(this.token.value));
    return apart && !limits ? make("mrow", {}, node, make("mspace", { width: "0.167em" })) : node;
  }

  /** Letters and digits of an argument in another alphabet. */
  alphabet(alphabet) {
    const node = this.argument();
    const change = (node) => {
      for (const child of node.childNodes) {
        if (child.nodeType !== Node.TEXT_NODE) change(child);
        else if (["mi", "mn"].includes(node.localName)) {
          child.data = inAlphabet(child.data, alphabet);
          if (node.localName === "mi") node.setAttribute("mathvariant", "normal");
        }
      }
    };
    change(node);
    return node;
  }

  stretched(tag, c) {
    const node = make(tag, {}, this.argument(), operator(c, { stretchy: "true" }));
    // What a brace stands for is written above or below it.
    if (c === "⏞" || c === "⏟") node.limits = "always";
    return node;
  }

  /** A delimiter as \left, \right and \big take them; empty for a dot. */
  delimiter() {
    const { kind, value } = this.next();
    if (kind === "char" && value === ".") return "";
    if (kind === "char" && /[()[\]|/<>]/.test(value)) return { "<": "⟨", ">": "⟩" }[value] ?? value;
    if (kind === "command" && OPERATORS.has(value)) return OPERATORS.get(value);
    if (kind === "command" && /^[{}|]$/.test(value)) return value === "|" ? "‖" : value;
    throw new Unknown();
  }

  /** The rows of an environment, up to its \end. */
  rows(name) {
    const ends = () => this.is("command", "end");
    const rows = [];
    for (;;) {
      const cells = [];
      for (;;) {
        cells.push(row(this.nodes(() => ends() || this.is("char", "&") || this.is("command", "\\") || this.is("command", "cr"))));
        if (!this.is("char", "&")) break;
        this.next();
      }
      if (!(ends() && cells.length === 1 && !cells[0].childNodes.length)) rows.push(cells);
      if (ends()) break;
      this.next();
      // Space between rows, as in \\[4pt].
      if (this.is("char", "[") && /^\[\s*-?[\d.]+\s*(pt|em|ex|mm|cm|in|mu)\s*\]/.test(this.source.slice(this.start))) this.optional();
    }
    this.next();
    if (this.raw() !== name) throw new Unknown();
    return rows;
  }

  environment() {
    const name = this.raw();
    const known = name.replace(/\*$/, "");
    if (!Object.hasOwn(ENVIRONMENTS, known)) throw new Unknown();
    const [open, close, how] = ENVIRONMENTS[known];
    let columns = "";
    if (/^(array|subarray|alignat|alignedat)$/.test(known)) columns = this.raw().replaceAll(/[^lcr]/g, "");
    const align = (i) => {
      if (how === "pairs") return i % 2 ? "left" : "right";
      return how ?? { l: "left", r: "right" }[columns[i]] ?? "center";
    };
    const rows = this.rows(name).map((cells) => make("mtr", {}, ...cells.map((cell, i) => make("mtd", { class: align(i) }, cell))));
    const kind = how === "pairs" ? "pairs" : known === "smallmatrix" ? "small" : "";
    const table = make("mtable", { class: kind, displaystyle: String(how === "pairs" || known.startsWith("gather")) }, ...rows);
    if (!open && !close) return table;
    return make("mrow", {}, operator(open || "\u200b", { stretchy: "true", form: "prefix" }), table, operator(close || "\u200b", { stretchy: "true", form: "postfix" }));
  }
}

const fraction = (attributes) => (p) => make("mfrac", attributes, p.argument(), p.argument());
const styled = (display, make_) => (p) => make("mstyle", { displaystyle: String(display) }, make_(p));
const bracketed = (node) => make("mrow", {}, operator("("), node, operator(")"));
const words = (p) => p.raw().replaceAll(/\\([{}%$#&_])/g, "$1").replaceAll(/[\s~]+/g, "\u00a0").replaceAll(/\$([^$]*)\$/g, "$1");
const plain = (p) => make("mtext", {}, words(p));

/** Commands with arguments. */
const COMMANDS = {
  frac: fraction({}), tfrac: styled(false, fraction({})), dfrac: styled(true, fraction({})), cfrac: styled(true, fraction({})),
  binom: (p) => bracketed(fraction({ linethickness: "0" })(p)),
  dbinom: (p) => bracketed(fraction({ linethickness: "0" })(p)),
  tbinom: (p) => bracketed(fraction({ linethickness: "0" })(p)),
  sqrt(p) {
    const degree = p.optional();
    return degree ? make("mroot", {}, p.argument(), degree) : make("msqrt", {}, p.argument());
  },
  text: plain, textrm: plain, textup: plain, textnormal: plain, mbox: plain, hbox: plain, textsf: plain, textsc: plain,
  textbf: (p) => make("mtext", {}, inAlphabet(words(p), ALPHABETS.mathbf)),
  textit: (p) => make("mtext", { class: "italic" }, words(p)),
  texttt: (p) => make("mtext", {}, inAlphabet(words(p), ALPHABETS.mathtt)),
  mathrm: upright, mathup: upright, mathit: (p) => p.argument(), mathnormal: (p) => p.argument(),
  operatorname(p) {
    const star = p.is("char", "*");
    if (star) p.next();
    return p.named(words(p), star ? "display" : "");
  },
  mathop(p) {
    const node = row([p.argument()]);
    node.limits = "display";
    return node;
  },
  overset: (p) => swapped(p, "mover"), stackrel: (p) => swapped(p, "mover"), underset: (p) => swapped(p, "munder"),
  boxed: (p) => make("mrow", { class: "boxed" }, p.argument()), fbox: (p) => make("mrow", { class: "boxed" }, plain(p)),
  cancel: (p) => make("mrow", { class: "cancelled" }, p.argument()),
  textcolor: (p) => (p.raw(), p.argument()),
  substack: (p) => {
    const lines = p.raw().split("\\\\").map((line) => new Parser(line, false));
    return make("mtable", {}, ...lines.map((line) => make("mtr", {}, make("mtd", {}, line.whole()))));
  },
  left(p) {
    const nodes = [operator(p.delimiter(), { stretchy: "true", form: "prefix" })];
    const ends = () => p.is("command", "right") || p.is("command", "middle");
    for (;;) {
      nodes.push(...p.nodes(ends));
      const last = p.next().value === "right";
      nodes.push(operator(p.delimiter(), { stretchy: "true", form: last ? "postfix" : "infix" }));
      if (last) return make("mrow", {}, ...nodes);
    }
  },
  begin: (p) => p.environment(),
  not(p) {
    const node = p.argument();
    const last = (n) => (n.lastElementChild ? last(n.lastElementChild) : n);
    last(node).textContent = `${last(node).textContent}\u0338`.normalize("NFC");
    return node;
  },
  pmod: (p) => make("mrow", {}, make("mspace", { width: "1em" }), operator("("), make("mi", {}, "mod"), make("mspace", { width: "0.333em" }), p.argument(), operator(")")),
  bmod: () => make("mo", { lspace: "0.222em", rspace: "0.222em" }, "mod"),
  mod: () => make("mo", { lspace: "1em", rspace: "0.333em" }, "mod"),
  tag: (p) => make("mrow", {}, make("mspace", { width: "2em" }), make("mtext", {}, `(${words(p)})`)),
  xrightarrow: (p) => arrow(p, "→"), xleftarrow: (p) => arrow(p, "←"), xRightarrow: (p) => arrow(p, "⇒"), xleftrightarrow: (p) => arrow(p, "↔"), xmapsto: (p) => arrow(p, "↦"),
};

/** Letters upright; several of them, as in \mathrm{rank}, are one name. */
function upright(p) {
  const source = p.raw();
  if (/^[\p{L}\d\s,.-]*$/u.test(source)) return make("mi", { mathvariant: "normal" }, source.trim());
  const inner = new Parser(source, p.display);
  inner.depth = p.depth;
  const node = inner.whole();
  for (const letter of [node, ...node.querySelectorAll("mi")]) {
    if (letter.localName === "mi") letter.setAttribute("mathvariant", "normal");
  }
  return node;
}

function swapped(p, tag) {
  const small = p.argument();
  return make(tag, {}, p.argument(), small);
}

function arrow(p, c) {
  const below = p.optional();
  const above = make("mpadded", { lspace: "0.4em", width: "+0.8em" }, p.argument());
  const long = operator(c, { stretchy: "true" });
  return below ? make("munderover", {}, long, below, above) : make("mover", {}, long, above);
}
