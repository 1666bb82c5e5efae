// The chat page in headless Chromium, as a reader meets it.
//
// In: PAGE_URL, a server of the sample model without a key; CHROMIUM, PAGE_MODULES and PAGE_SHOTS if they stand elsewhere
// than /usr/bin/chromium and target/page, and where screenshots are wanted. Out: passed or failed. Invariant: what a server
// can be brought to say is said by the real one; only what it says when overloaded, and bytes cut anywhere, are made up.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const load = createRequire(join(process.env.PAGE_MODULES ?? join(root, "target/page"), "/"));
const { chromium } = load("playwright-core");
const axe = load("axe-core").source;

const url = process.env.PAGE_URL;
assert.ok(url, "set PAGE_URL to the address of a running `./qwen serve`");
const shots = process.env.PAGE_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

let browser;
before(async () => {
  // A sandbox needs user namespaces, which containers and root often lack.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
});
after(() => browser.close());

/** A test with a fresh browser profile; what the console complains of fails it, unless it is `expected`. */
function reader(title, options, act) {
  test(title, { timeout: 90_000 }, async () => {
    const { expected, ...profile } = options;
    const context = await browser.newContext({ viewport: { width: 900, height: 700 }, ...profile });
    // Greedy, so that answers are the same every time.
    await context.addInitScript(() => {
      if (!localStorage.getItem("qwenc.settings")) localStorage.setItem("qwenc.settings", '{"temperature":"0"}');
    });
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (e) => complaints.push(String(e)));
    page.on("console", (said) => {
      if (said.type() === "error" && !expected?.test(said.text())) complaints.push(said.text());
    });
    try {
      await page.goto(url);
      await page.getByRole("heading", { level: 1 }).filter({ hasNotText: "Chat" }).waitFor();
      await act(page, context);
      assert.deepEqual(complaints, []);
      if (shots) await page.screenshot({ path: join(shots, `${title.replaceAll(/\W+/g, "-")}.png`) });
    } catch (e) {
      if (shots) await page.screenshot({ path: join(shots, "failed.png") });
      throw e;
    } finally {
      await context.close();
    }
  });
}

const question = (page) => page.getByRole("textbox", { name: "Question" });
const answers = (page) => page.locator("article.assistant");
const last = (page) => answers(page).last();
const over = (page) => page.locator("body:not(.busy) article.assistant:last-child").waitFor();

async function ask(page, text) {
  await question(page).fill(text);
  await question(page).press("Enter");
}

async function settings(page, fill) {
  await page.getByRole("button", { name: "Settings" }).click();
  await fill(page.getByRole("dialog", { name: "Settings" }));
  await page.getByRole("button", { name: "Done" }).click();
}

/** Answers go on until the context is full, and come slowly. Returns the requests. */
async function endless(page, context) {
  const requests = [];
  await page.route("**/v1/chat/completions", (route) => {
    const body = route.request().postDataJSON();
    requests.push(body);
    return route.continue({ postData: JSON.stringify({ ...body, ignore_eos: true, max_tokens: 1500 }) });
  });
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.enable");
  const slow = { offline: false, latency: 0, downloadThroughput: 20_000, uploadThroughput: -1 };
  await devtools.send("Network.emulateNetworkConditions", slow);
  return requests;
}

/** The next answers are these bytes, one at a time if `cut`, after a while. */
async function answerWith(page, text, cut, wait = 0) {
  await page.evaluate(([text, cut, wait]) => {
    const real = window.fetch;
    window.fetch = async (where, what) => {
      if (!String(where).endsWith("chat/completions")) return real(where, what);
      await new Promise((done) => setTimeout(done, wait));
      const bytes = new TextEncoder().encode(text);
      const pieces = cut ? [...bytes].map((b) => new Uint8Array([b])) : [bytes];
      return new Response(new ReadableStream({
        start(out) {
          pieces.forEach((piece) => out.enqueue(piece));
          out.close();
        },
      }));
    };
  }, [text, cut, wait]);
}

const events = (pieces) =>
  [...pieces.map((delta) => JSON.stringify({ choices: [{ index: 0, delta }] })), "[DONE]"].map((e) => `data: ${e}\n\n`).join("");

async function accessible(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), []);
}

const fits = async (page) =>
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "wider than the window");

describe("the chat page", () => {
  test("comes with headers that let nothing foreign in", async () => {
    for (const [path, type] of [["", "text/html"], ["page.css", "text/css"], ["page.js", "text/javascript"]]) {
      const response = await fetch(new URL(path, url));
      assert.equal(response.status, 200, path);
      assert.match(response.headers.get("content-type"), new RegExp(`^${type}; charset=utf-8$`));
      assert.equal(response.headers.get("x-content-type-options"), "nosniff");
      const policy = response.headers.get("content-security-policy");
      for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"]) assert.ok(policy.includes(rule), policy);
      assert.ok(!policy.includes("unsafe"), policy);
    }
  });

  reader("answers and keeps the conversation over a reload", {}, async (page) => {
    await ask(page, "What is the capital of Japan?");
    await over(page);
    const text = last(page).locator("> .text");
    assert.equal(await text.innerText(), "The capital of Japan is Tokyo.");
    assert.match(await last(page).locator(".note").innerText(), /^\d+ tokens · [\d.]+ s · [\d.]+ tok\/s · context \d+ of \d+$/);
    assert.equal(await question(page).inputValue(), "");
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
    await page.reload();
    assert.equal(await text.innerText(), "The capital of Japan is Tokyo.");
    await ask(page, "What is the capital of France?");
    await over(page);
    assert.equal(await text.last().innerText(), "The capital of France is Paris.");
    assert.equal(await answers(page).count(), 2);
    await accessible(page);
  });

  reader("streams, and Escape stops", {}, async (page, context) => {
    const requests = await endless(page, context);
    await ask(page, "Hello!");
    const text = last(page).locator("> .text");
    await page.waitForFunction(() => document.querySelector("article.assistant > .text")?.textContent.length > 20);
    const early = (await text.innerText()).length;
    await page.waitForFunction((early) => document.querySelector("article.assistant > .text").textContent.length > early, early);
    assert.equal(await page.getByRole("button", { name: "Stop" }).isVisible(), true);
    assert.equal(await page.getByRole("button", { name: "Send" }).isVisible(), false);
    await page.keyboard.press("Escape");
    await over(page);
    assert.match(await last(page).locator(".note").innerText(), /stopped$/);
    const stopped = await text.innerText();
    await page.waitForTimeout(300);
    assert.equal(await text.innerText(), stopped);
    assert.equal(await last(page).locator(".wrong").isVisible(), false);
    assert.equal(requests.length, 1);
  });

  reader("stops by its button, and regenerates", {}, async (page, context) => {
    const requests = await endless(page, context);
    await ask(page, "Hello!");
    await page.waitForFunction(() => document.querySelector("article.assistant > .text")?.textContent.length > 20);
    await page.getByRole("button", { name: "Stop" }).click();
    await over(page);
    await page.unroute("**/v1/chat/completions");
    const again = page.waitForRequest("**/v1/chat/completions");
    await page.getByRole("button", { name: "Regenerate" }).click();
    const body = (await again).postDataJSON();
    assert.deepEqual(body.messages, requests[0].messages);
    await over(page);
    assert.equal(await answers(page).count(), 1);
    assert.match(await last(page).locator("> .text").innerText(), /Hello/);
  });

  reader("keeps what came when the page is left in the middle", {}, async (page, context) => {
    await endless(page, context);
    await ask(page, "Hello!");
    await page.waitForFunction(() => document.querySelector("article.assistant > .text")?.textContent.length > 20);
    await page.unroute("**/v1/chat/completions");
    await page.reload();
    assert.equal(await page.locator("body.busy").count(), 0);
    assert.ok((await last(page).locator("> .text").innerText()).length > 5);
    assert.match(await last(page).locator(".note").innerText(), /stopped$/);
    assert.equal(await last(page).locator(".wrong").isVisible(), false);
  });

  reader("folds thinking, and sends what the settings say", {}, async (page) => {
    await settings(page, async (dialog) => {
      await dialog.getByLabel("System message").fill("Be short.");
      await dialog.getByLabel("Temperature").fill("0");
      await dialog.getByLabel("Top p").fill("0.9");
      await dialog.getByLabel("Top k").fill("20");
      await dialog.getByLabel("Max tokens").fill("200");
      await dialog.getByLabel("Seed").fill("7");
      await dialog.getByLabel("Thinking").selectOption("On");
    });
    await page.reload();
    await settings(page, (dialog) => accessible(page));
    const sent = page.waitForRequest("**/v1/chat/completions");
    await ask(page, "What is the capital of France?");
    assert.deepEqual((await sent).postDataJSON(), {
      messages: [{ role: "system", content: "Be short." }, { role: "user", content: "What is the capital of France?" }],
      stream: true, stream_options: { include_usage: true },
      temperature: 0, top_p: 0.9, top_k: 20, max_tokens: 200, seed: 7, chat_template_kwargs: { enable_thinking: true },
    });
    await over(page);
    const thoughts = last(page).locator("details .text");
    assert.equal(await thoughts.isVisible(), false);
    await last(page).getByText("Thinking").click();
    assert.equal(await thoughts.isVisible(), true);
    assert.ok((await thoughts.innerText()).length > 5);
    await accessible(page);
  });

  reader("sends no settings that cannot be", {}, async (page) => {
    await settings(page, (dialog) => dialog.getByLabel("Temperature").fill("9"));
    const dialog = page.getByRole("dialog", { name: "Settings" });
    assert.equal(await dialog.isVisible(), true);
    await page.keyboard.press("Escape");
    await ask(page, "Hello!");
    assert.equal(await dialog.isVisible(), true);
    assert.equal(await answers(page).count(), 0);
    assert.equal(await question(page).inputValue(), "Hello!");
  });

  reader("shows what the server refuses, and goes on", { expected: /status of 400/ }, async (page) => {
    await ask(page, "word ".repeat(20_000));
    await over(page);
    assert.match(await last(page).locator(".wrong").innerText(), /token/);
    await page.evaluate(() => localStorage.removeItem("qwenc.conversation"));
    await page.reload();
    await ask(page, "Hello!");
    await over(page);
    assert.match(await last(page).locator("> .text").innerText(), /Hello/);
  });

  for (const [status, headers] of [[429, { "Retry-After": "3" }], [503, { "Retry-After": "2" }], [401, {}]]) {
    reader(`shows status ${status} and tries again`, { expected: /status of/ }, async (page) => {
      const body = JSON.stringify({ error: { message: `refused with ${status}` } });
      await page.route("**/v1/chat/completions", (route) => route.fulfill({ status, headers, body }));
      await ask(page, "What is the capital of Japan?");
      await over(page);
      const after = headers["Retry-After"] ? `; worth another try in ${headers["Retry-After"]} s` : "";
      assert.equal(await last(page).locator(".wrong").innerText(), `refused with ${status}${after}`);
      await page.unroute("**/v1/chat/completions");
      await page.getByRole("button", { name: "Try again" }).click();
      await over(page);
      assert.equal(await last(page).locator("> .text").innerText(), "The capital of Japan is Tokyo.");
    });
  }

  reader("waits while the model is loaded", { expected: /status of 503/ }, async (page) => {
    const body = JSON.stringify({ error: { message: "the model is still being loaded" } });
    await page.route("**/v1/models", (route) => route.fulfill({ status: 503, headers: { "Retry-After": "2" }, body }));
    await page.reload();
    await page.getByRole("alert").filter({ hasText: "still being loaded" }).waitFor();
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Chat");
    await page.unroute("**/v1/models");
    await page.getByRole("heading", { level: 1 }).filter({ hasNotText: "Chat" }).waitFor();
    assert.equal(await page.getByRole("alert").innerText(), "");
  });

  reader("sends the key that the server wants", { expected: /status of 401/ }, async (page) => {
    const body = JSON.stringify({ error: { message: "this server wants its API key" } });
    await page.route("**/v1/**", (route) =>
      route.request().headers().authorization === "Bearer s3cret" ? route.continue() : route.fulfill({ status: 401, body }));
    await page.reload();
    await page.getByRole("alert").filter({ hasText: "give it in the settings" }).waitFor();
    await settings(page, (dialog) => dialog.getByLabel("API key").fill("s3cret"));
    await page.getByRole("heading", { level: 1 }).filter({ hasNotText: "Chat" }).waitFor();
    assert.equal(await page.getByRole("alert").innerText(), "");
    await ask(page, "Hello!");
    await over(page);
    assert.match(await last(page).locator("> .text").innerText(), /Hello/);
  });

  reader("shows the same conversation in two tabs", {}, async (page, context) => {
    const other = await context.newPage();
    await other.goto(url);
    await ask(page, "What is the capital of Japan?");
    await over(page);
    await other.getByText("The capital of Japan is Tokyo.").first().waitFor();
    await ask(other, "What is the capital of France?");
    await over(other);
    await page.getByText("The capital of France is Paris.").first().waitFor();
    assert.equal(await answers(page).count(), 2);
  });

  reader("says when nobody answers, or stops in the middle", { expected: /ERR_/ }, async (page) => {
    await page.route("**/v1/chat/completions", (route) => route.abort());
    await ask(page, "Hello!");
    await over(page);
    assert.match(await last(page).locator(".wrong").innerText(), /does not answer/);
    await answerWith(page, 'data: {"choices":[{"delta":{"content":"half"}}]}\n\n', false);
    await ask(page, "Hello!");
    await over(page);
    assert.equal(await last(page).locator("> .text").innerText(), "half");
    assert.match(await last(page).locator(".wrong").innerText(), /connection ended/);
    await answerWith(page, 'data: {"error":{"message":"it broke"}}\n\n', false);
    await ask(page, "Hello!");
    await over(page);
    assert.equal(await last(page).locator(".wrong").innerText(), "it broke");
  });

  reader("reads bytes that are cut anywhere", {}, async (page) => {
    const stream = `: waiting\n\n${events([{ role: "assistant", content: "" }, { content: "São " }, { content: "🦀 巴西利亚" }])}`;
    await answerWith(page, stream.replaceAll("\n", "\r\n"), true);
    await ask(page, "Hello!");
    await over(page);
    assert.equal(await last(page).locator("> .text").innerText(), "São 🦀 巴西利亚");
  });

  reader("measures no speed that was not", {}, async (page) => {
    const usage = { choices: [], usage: { prompt_tokens: 3, completion_tokens: 100, total_tokens: 103 } };
    const stream = events([{ content: "word" }]).replace("data: [DONE]", `data: ${JSON.stringify(usage)}\n\ndata: [DONE]`);
    const since = performance.now();
    await answerWith(page, stream, false, 500);
    await ask(page, "Hello!");
    await over(page);
    const most = (performance.now() - since) / 1000;
    // All came at once, half a second after the question.
    const note = await last(page).locator(".note").innerText();
    const [tokens, seconds, rate] = /^(\d+) tokens · ([\d.]+) s · ([\d.]+) tok/.exec(note).slice(1).map(Number);
    assert.equal(tokens, 100);
    assert.ok(seconds >= 0.49 && seconds <= most + 0.05, `${note} of ${most} s`);
    assert.ok(rate <= 201 && rate >= 99 / most - 1, `${note} of ${most} s`);
  });

  reader("shows Markdown, and markup as the text it is", {}, async (page) => {
    const text = [
      "# Title", "Some **bold**, *slanted* and `code`, 2 * 3 * 4, <img src=x onerror=alert(1)><script>alert(2)</script>", "",
      "- one", "  - inner", "- two", "", "7. seven", "8. eight", "", "```html", "<b>kept</b>", "  indented", "```", "---", "[link](javascript:alert(3))",
    ].join("\n");
    // A character at a time, as every beginning has to be shown too.
    await answerWith(page, events([...text].map((content) => ({ content }))), false);
    await ask(page, "Hello!");
    await over(page);
    const place = last(page).locator("> .text");
    const kinds = await place.evaluate((e) => [...e.children].map((c) => c.tagName).join(" "));
    assert.equal(kinds, "H3 P UL OL FIGURE HR P");
    const inner = (tag) => place.locator(tag).allInnerTexts();
    assert.deepEqual(await inner("p strong"), ["bold"]);
    assert.deepEqual(await inner("p em"), ["slanted"]);
    assert.deepEqual(await inner("p code"), ["code"]);
    assert.deepEqual(await inner("ul ul > li"), ["inner"]);
    assert.equal(await place.locator("ol").getAttribute("start"), "7");
    assert.deepEqual(await inner("pre"), ["<b>kept</b>\n  indented"]);
    assert.equal(await place.locator("img, script, a, b").count(), 0);
    assert.match((await inner("p"))[0], /2 \* 3 \* 4, <img src=x onerror=alert\(1\)><script>/);
    await accessible(page);
  });

  reader("is not held up by text that is hard to read", {}, async (page) => {
    const stairs = Array.from({ length: 2_000 }, (_, i) => `${"  ".repeat(i)}- ${i}`).join("\n");
    for (const text of [`${"~".repeat(100_000)}\``, "*a".repeat(50_000), "`".repeat(50_001), `${" ".repeat(100_000)}x`, stairs]) {
      await answerWith(page, events([{ content: text }]), false);
      const since = performance.now();
      await ask(page, "Hello!");
      await over(page);
      assert.ok(performance.now() - since < 10_000, `${text.slice(0, 5)} took ${performance.now() - since} ms`);
    }
  });

  reader("copies", { permissions: ["clipboard-read", "clipboard-write"] }, async (page) => {
    await ask(page, "Write a Python function that adds two numbers.");
    await over(page);
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    await page.getByRole("button", { name: "Copy code" }).click();
    await page.getByText("Copied").first().waitFor();
    assert.match(await copied(), /^def add/);
    await page.getByRole("button", { name: "Copy answer" }).click();
    await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("```python"));
  });

  reader("goes by keyboard alone, and is read out", {}, async (page) => {
    await page.getByRole("heading", { level: 1 }).click();
    await page.keyboard.press("Shift+Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the question");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
    await page.keyboard.type("Hello");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("!");
    assert.equal(await question(page).inputValue(), "Hello\n!");
    assert.equal(await answers(page).count(), 0);
    await question(page).fill("What is the capital of Japan?");
    await page.keyboard.press("Enter");
    await over(page);
    const said = await page.locator("[aria-live=polite] p").allInnerTexts();
    assert.equal(said.at(-1), "End of answer");
    assert.equal(said.filter((s) => s !== "Thinking").slice(0, -1).join(" "), (await last(page).locator("> .text").innerText()));
    const names = [];
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press("Shift+Tab");
      names.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent));
      if (names.at(-1) === "New conversation") break;
    }
    // The model may have thought, or not.
    assert.deepEqual(names.filter((n) => n !== "Thinking"), ["Regenerate", "Copy answer", "Conversation", "Settings", "Dark", "New conversation"]);
    page.once("dialog", (dialog) => dialog.accept());
    await page.keyboard.press("Enter");
    await page.getByText("Ask something. The").waitFor();
    await page.reload();
    assert.equal(await page.locator("article").count(), 0);
  });

  reader("is dark where the system is, or by its switch", { colorScheme: "dark" }, async (page) => {
    const lightness = () => page.evaluate(() => Number(/\d+/.exec(getComputedStyle(document.body).backgroundColor)[0]));
    const dark = page.getByRole("button", { name: "Dark" });
    assert.ok((await lightness()) < 60);
    assert.equal(await dark.getAttribute("aria-pressed"), "true");
    await dark.click();
    assert.ok((await lightness()) > 200);
    await page.reload();
    assert.ok((await lightness()) > 200);
    assert.equal(await dark.getAttribute("aria-pressed"), "false");
    await dark.click();
    assert.ok((await lightness()) < 60);
    await ask(page, "Write a Python function that adds two numbers.");
    await over(page);
    await accessible(page);
  });

  reader("fits 320 pixels, and moves nothing where that is unwanted", { viewport: { width: 320, height: 568 }, reducedMotion: "reduce" }, async (page, context) => {
    await ask(page, "Write a Python function that adds two numbers.");
    await over(page);
    await fits(page);
    await page.getByRole("button", { name: "Settings" }).click();
    await fits(page);
    if (shots) await page.screenshot({ path: join(shots, "settings-320.png") });
    await page.keyboard.press("Escape");
    await endless(page, context);
    await ask(page, "Hello!");
    await page.waitForFunction(() => document.querySelector("article.coming > .text")?.textContent.length > 20);
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    await page.getByRole("button", { name: "Stop" }).click();
    await over(page);
    await fits(page);
  });
});
