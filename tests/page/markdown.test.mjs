// Answers of the chat page as Markdown and formulas, in headless Chromium.
//
// In: a server of the sample model (reader.mjs); answers made up here. Out: passed or failed. Invariant: an answer comes in
// pieces, so every beginning of it is shown too; nothing in it becomes markup, a script or a request.

import assert from "node:assert/strict";
import { describe } from "node:test";

import { accessible, answerWith, ask, events, last, over, reader } from "./reader.mjs";

/** Shows an answer, a character at a time, and returns its place. */
async function shown(page, text) {
  await answerWith(page, events([...text].map((content) => ({ content }))), false);
  await ask(page, "Hello!");
  await over(page);
  return last(page).locator("> .text");
}

/** What an answer has become: names of elements with what is in them, in one line. */
const outline = (place) => place.evaluate((element) => {
  const attributes = (e) => ["href", "start", "class", "checked"].filter((name) => e.hasAttribute(name)).map((name) => `[${name}=${e.getAttribute(name)}]`).join("");
  const write = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.localName === "figcaption" || node.localName === "annotation") return "";
    const inner = [...node.childNodes].map(write).join("");
    return ["semantics", "tbody"].includes(node.localName) ? inner : `<${node.localName}${attributes(node)}>${inner}</>`;
  };
  return [...element.childNodes].map(write).join("");
});

const code = "```";
const CASES = [
  ["# Title", "<h3>Title</>"],
  ["## Closed ##\ntext", "<h4>Closed</><p>text</>"],
  ["Title\n=====\nSmaller\n---", "<h3>Title</><h4>Smaller</>"],
  ["a **b** *c* ***d*** __e__ _f_ ~~g~~ `h`", "<p>a <strong>b</> <em>c</> <em><strong>d</></> <strong>e</> <em>f</> <del>g</> <code>h</></>"],
  ["snake_case_name, 2 * 3 * 4, a ~ b, ~5, 5*6*7", "<p>snake_case_name, 2 * 3 * 4, a ~ b, ~5, 5<em>6</>7</>"],
  ["**中文。**后面 and **“词”**的", "<p><strong>中文。</>后面 and <strong>“词”</>的</>"],
  ["**bold with *slanted* in it** and *open", "<p><strong>bold with <em>slanted</> in it</> and *open</>"],
  ["\\*no\\* \\_no\\_ &lt;b&gt; &amp;&nbsp;&#x41; &bogus;", "<p>*no* _no_ <b> &\u00a0A &bogus;</>"],
  ["``a ` b`` and `**c**` and `open", "<p><code>a ` b</> and <code>**c**</> and `open</>"],
  ["[a *b*](https://x.test/p_(q)?r=1 \"t\"), <https://y.test>, https://z.test/a_b_c.", "<p><a[href=https://x.test/p_(q)?r=1]>a <em>b</></>, <a[href=https://y.test/]>https://y.test</>, <a[href=https://z.test/a_b_c]>https://z.test/a_b_c</>.</>"],
  ["(see https://x.test/a) ![alt](https://x.test/i.png)", "<p>(see <a[href=https://x.test/a]>https://x.test/a</>) <a[href=https://x.test/i.png]>alt</></>"],
  ["> a\n> - b\n>\n> > c\nlazy\n\nout", "<blockquote><p>a</><ul><li>b</></><blockquote><p>c\nlazy</></></><p>out</>"],
  ["- a\n  - b\n    - c\n  - d\n- e", "<ul><li>a<ul><li>b<ul><li>c</></></><li>d</></></><li>e</></>"],
  ["- a\n    - b\n\t- c", "<ul><li>a<ul><li>b</><li>c</></></></>"],
  ["1. a\n   - b\n2. c\n\n7) d", "<ol[start=1]><li>a<ul><li>b</></></><li>c</></><ol[start=7]><li>d</></>"],
  [`1. a\n\n   ${code}js\n   x\n     y\n   ${code}\n2. b`, "<ol[start=1]><li>a<figure><pre><code>x\n  y</></></></><li>b</></>"],
  ["- a\n\n  b\n\n- c", "<ul><li><p>a</><p>b</></><li><p>c</></></>"],
  ["- [x] a\n- [ ] b\n- [c] d", "<ul><li[class=task]><input[checked=]></> a</><li[class=task]><input></> b</><li>[c] d</></>"],
  ["- a\ngoes on\n- b\n\nout", "<ul><li>a\ngoes on</><li>b</></><p>out</>"],
  ["text\n- a\n- b\ntext", "<p>text</><ul><li>a</><li>b\ntext</></>"],
  ["| a | b |\n|:-:|--:|\n| 1 | `x` |\n| 2 \\| 3 | **4**<br>5 | 6 |\n| 7 |\nout?", null],
  ["a | b\n-|-\n1 | 2\n\nout", "<div[class=table]><table><thead><tr><th[class=left]>a</><th[class=left]>b</></></><tr><td[class=left]>1</><td[class=left]>2</></></></><p>out</>"],
  ["a | b\nno table", "<p>a | b\nno table</>"],
  [`${code}py\n# no title\n<b>\n${code}\n~~~\n${code}\n~~~`, `<figure><pre><code># no title\n<b></></></><figure><pre><code>${code}</></></>`],
  [`${code}\nopen`, "<figure><pre><code>open</></></>"],
  ["    code\n      more\n\ntext", "<figure><pre><code>code\n  more</></></><p>text</>"],
  ["a\n\n***\nb", "<p>a</><hr></><p>b</>"],
  ["line\nbreak\\\nhard", "<p>line\nbreak\nhard</>"],
];

describe("Markdown on the chat page", () => {
  reader("becomes what it means", {}, async (page) => {
    for (const [source, expected] of CASES) {
      await page.getByRole("button", { name: "New conversation" }).click();
      const place = await shown(page, source);
      if (expected !== null) assert.equal(await outline(place), expected, source);
    }
    await page.getByRole("button", { name: "New conversation" }).click();
    const place = await shown(page, CASES.find(([, expected]) => expected === null)[0]);
    const cells = await place.locator("tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((c) => c.innerText)));
    assert.deepEqual(cells, [["a", "b"], ["1", "x"], ["2 | 3", "4\n5"], ["7", ""], ["out?", ""]]);
    assert.deepEqual(await place.locator("td").first().evaluate((e) => getComputedStyle(e).textAlign), "center");
    await accessible(page);
  });

  reader("shows markup as the text it is, and links lead to the web alone", {}, async (page, context) => {
    const asked = [];
    context.on("request", (request) => asked.push(request.url()));
    const hostile = [
      "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)>", "[a](javascript:alert(1))", "[b](JaVaScRiPt:alert(1))", "[c](data:text/html,x)",
      "[d](<java\tscript:alert(1)>)", "<javascript:alert(1)>", "![e](javascript:alert(1))", "[f](file:///etc/passwd)", "[g](vbscript:x)", "[h](/relative)", "[i](&#106;avascript:alert(1))",
      "![picture](https://tracker.test/p.png)", "$\\href{javascript:alert(1)}{x}$", "$<script>alert(1)</script>$", "\\(\\text{<img src=x onerror=alert(1)>}\\)", "| <b>x</b> |\n|---|\n| <i>y</i> |",
      "> <iframe src=x>", "- <style>*{display:none}</style>", "```<b>\n</code><b>\n```", "# <a href=javascript:alert(1)>t</a>",
    ];
    page.on("dialog", (dialog) => assert.fail(dialog.message()));
    const place = await shown(page, hostile.join("\n\n"));
    assert.equal(await place.locator("img, script, svg, iframe, style, b, i").count(), 0);
    assert.deepEqual(await place.locator("a").evaluateAll((links) => links.map((a) => a.href)), ["https://tracker.test/p.png"]);
    assert.equal(await place.locator("a").getAttribute("rel"), "noopener noreferrer nofollow");
    assert.match(await place.innerText(), /<img src=x onerror=alert\(1\)><script>[\s\S]*\[a\]\(javascript:alert\(1\)\)/);
    assert.ok(asked.every((address) => new URL(address).hostname === new URL(page.url()).hostname), asked.join("\n"));
  });

  reader("is not held up by text that is hard to read", {}, async (page) => {
    const stairs = Array.from({ length: 2_000 }, (_, i) => `${"  ".repeat(i)}- ${i}`).join("\n");
    const texts = [
      `${"~".repeat(100_000)}\``, "*a".repeat(50_000), "`".repeat(50_001), `${" ".repeat(100_000)}x`, stairs, "*a _b ".repeat(10_000) + "b_ a* ".repeat(10_000),
      "[".repeat(50_000), "[a](".repeat(20_000), "> ".repeat(20_000), "$$x\n".repeat(20_000), "\\(".repeat(50_000), "\\[\n".repeat(20_000), `$${"{".repeat(4_000)}$`,
      "\\begin{align}\n".repeat(10_000), "|".repeat(100_000), "a|b\n-|-\n".repeat(2_000), `${"-".repeat(100_000)}x`, `- ${"- ".repeat(20_000)}`, "<".repeat(100_000), "https://".repeat(10_000),
      "![](".repeat(20_000), "&".repeat(100_000), `$\\frac${"{1}{\\frac".repeat(500)}$`, "1. ".repeat(20_000), "**a".repeat(30_000), "_".repeat(100_000), "``` `\n".repeat(20_000),
    ];
    for (const text of texts) {
      await answerWith(page, events([{ content: text }]), false);
      const since = performance.now();
      await page.getByRole("button", { name: "New conversation" }).click();
      await ask(page, "Hello!");
      await over(page);
      assert.ok(performance.now() - since < 10_000, `${text.slice(0, 9)} took ${performance.now() - since} ms`);
      assert.equal(await last(page).locator(".wrong").isVisible(), false, text.slice(0, 9));
      // Storage is small, and these are large.
      await page.evaluate(() => localStorage.clear());
    }
  });
});

/** Formulas and the MathML that they become, without attributes and invisible parts. */
const FORMULAS = [
  ["$x^2$", "<msup><mi>x</><mn>2</></>"],
  ["\\(a_{i,j}^{n+1}\\)", "<msubsup><mi>a</><mrow><mi>i</><mo>,</><mi>j</></><mrow><mi>n</><mo>+</><mn>1</></></>"],
  ["$\\frac{a}{b}$", "<mfrac><mi>a</><mi>b</></>"],
  ["$\\frac12$", "<mfrac><mn>1</><mn>2</></>"],
  ["$x^10$", "<msup><mi>x</><mn>1</></><mn>0</>"],
  ["$\\sqrt{2} \\sqrt[3]{x}$", "<msqrt><mn>2</></><mroot><mi>x</><mn>3</></>"],
  ["$\\alpha \\le \\beta \\Rightarrow \\Gamma$", "<mi>α</><mo>≤</><mi>β</><mo>⇒</><mi>Γ</>"],
  ["$$\\sum_{i=1}^n i$$", "<munderover><mo>∑</><mrow><mi>i</><mo>=</><mn>1</></><mi>n</></><mi>i</>"],
  ["$\\sum_i i$", "<msub><mo>∑</><mi>i</></><mi>i</>"],
  ["$$\\int_0^1 f'(x)\\,dx$$", "<msubsup><mo>∫</><mn>0</><mn>1</></><msup><mi>f</><mo>′</></><mo>(</><mi>x</><mo>)</><mspace></><mi>d</><mi>x</>"],
  ["\\[\\lim_{x \\to 0} \\sin x\\]", "<munder><mi>lim</><mrow><mi>x</><mo>→</><mn>0</></></><mrow><mi>sin</><mspace></></><mi>x</>"],
  ["$\\mathbb{R}\\mathbf{v}\\mathcal{L}\\mathfrak{g}$", "<mi>ℝ</><mi>𝐯</><mi>ℒ</><mi>𝔤</>"],
  ["$\\hat{x} + \\vec v - \\overline{ab}$", "<mover><mi>x</><mo>^</></><mo>+</><mover><mi>v</><mo>→</></><mo>−</><mover><mrow><mi>a</><mi>b</></><mo>¯</></>"],
  ["$\\text{if } x \\neq 0$", "<mtext>if\u00a0</><mi>x</><mo>≠</><mn>0</>"],
  ["$\\left( \\frac{1}{2} \\right]$", "<mrow><mo>(</><mfrac><mn>1</><mn>2</></><mo>]</></>"],
  ["$$\\begin{bmatrix} 1 & 2 \\\\ 3 & 4 \\end{bmatrix}$$", "<mrow><mo>[</><mtable><mtr><mtd><mn>1</></><mtd><mn>2</></></><mtr><mtd><mn>3</></><mtd><mn>4</></></></><mo>]</></>"],
  ["$$\na &= b \\\\\n$$", null],
  ["\\begin{align*}\na &= b \\\\\nc &= d\n\\end{align*}", "<mtable><mtr><mtd><mi>a</></><mtd><mrow><mo>=</><mi>b</></></></><mtr><mtd><mi>c</></><mtd><mrow><mo>=</><mi>d</></></></></>"],
  ["${n \\choose k} {a \\over b}$", "<mrow><mo>(</><mfrac><mi>n</><mi>k</></><mo>)</></><mfrac><mi>a</><mi>b</></>"],
  ["$\\binom{n}{k} \\not= \\not\\in$", "<mrow><mo>(</><mfrac><mi>n</><mi>k</></><mo>)</></><mo>≠</><mo>∉</>"],
  ["$\\operatorname{rank} A \\pmod{n}$", "<mrow><mi>rank</><mspace></></><mi>A</><mrow><mspace></><mo>(</><mi>mod</><mspace></><mi>n</><mo>)</></>"],
  ["$P(A \\mid B) = 50\\%$", "<mi>P</><mo>(</><mi>A</><mo>∣</><mi>B</><mo>)</><mo>=</><mn>50</><mo>%</>"],
  ["$\\unknown{x}$", null], ["$x^$", null], ["$\\frac{a}$", null], ["$a^b^c$", null], ["$\\left( x$", null], ["$\\begin{foo}x\\end{foo}$", null], ["${$", null],
];

describe("formulas on the chat page", () => {
  reader("become MathML, or stay as their source", {}, async (page) => {
    for (const [source, expected] of FORMULAS) {
      await page.getByRole("button", { name: "New conversation" }).click();
      const place = await shown(page, source);
      const found = await place.evaluate((element) => {
        const write = (node) => {
          if (node.nodeType === Node.TEXT_NODE) return node.data;
          if (node.localName === "annotation") return "";
          return `<${node.localName}>${[...node.childNodes].map(write).join("")}</>`;
        };
        const row = element.querySelector("math > semantics > mrow");
        return row ? [...row.childNodes].map(write).join("").replace(/^<mrow>(.*)<\/>$/, "$1") : null;
      });
      const bare = (text) => text?.replace(/^<mrow>(.*)<\/>$/, "$1") ?? null;
      assert.equal(bare(found), bare(expected), source);
      if (expected === null) assert.ok((await place.innerText()).replaceAll(/\s/g, "").includes(source.replaceAll(/\s/g, "")), source);
    }
    await accessible(page);
  });

  reader("are none where dollars are money", {}, async (page) => {
    const prices = ["It costs $5 and $10.", "From $20 to $30, or US$5.", "I have $20 in my wallet and you have 30$ there.", "$HOME and $PATH", "a $ b $ c", "\\$5 and \\$6"];
    const place = await shown(page, prices.join("\n\n"));
    assert.equal(await place.locator("math, code").count(), 0);
    assert.deepEqual(await place.locator("p").allInnerTexts(), prices.map((p) => p.replaceAll("\\", "")));
  });

  reader("stand on lines of their own and within lines", {}, async (page) => {
    const place = await shown(page, "Let $a$ and \\(b\\) be:\n$$\na = b,\n\nc\n$$\nso \\[\nd\n\\]\n- $$e$$\n\n> \\[ f \\]");
    const found = await place.locator("math").evaluateAll((all) => all.map((m) => `${m.getAttribute("display")} ${m.querySelector("annotation").textContent}`));
    assert.deepEqual(found, ["inline a", "inline b", "block a = b,\n\nc", "block d", "block e", "block f"]);
  });
});
