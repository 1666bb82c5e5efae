// What the tests of the chat page share: a browser, a server, what a reader does.
//
// In: PAGE_URL, a server of the sample model without a key; CHROMIUM, PAGE_MODULES and PAGE_SHOTS if they stand elsewhere
// than /usr/bin/chromium and target/page, and where screenshots are wanted. Out: tests that passed or failed. Invariant: a
// test has a fresh browser profile, and fails if the page's console complains of anything that the test does not expect.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const load = createRequire(join(process.env.PAGE_MODULES ?? join(root, "target/page"), "/"));
const { chromium } = load("playwright-core");
const axe = load("axe-core").source;

export const url = process.env.PAGE_URL;
assert.ok(url, "set PAGE_URL to the address of a running `./qwen serve`");
export const shots = process.env.PAGE_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

let browser;
before(async () => {
  // A sandbox needs user namespaces, which containers and root often lack.
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
});
after(() => browser.close());

/** A test with a fresh browser profile; what the console complains of fails it, unless it is `expected`. */
export function reader(title, options, act) {
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

export const question = (page) => page.getByRole("textbox", { name: "Question" });
export const answers = (page) => page.locator("article.assistant");
export const last = (page) => answers(page).last();
export const over = (page) => page.locator("body:not(.busy) article.assistant:last-child").waitFor();

export async function ask(page, text) {
  await question(page).fill(text);
  await question(page).press("Enter");
}

export async function settings(page, fill) {
  await page.getByRole("button", { name: "Settings" }).click();
  await fill(page.getByRole("dialog", { name: "Settings" }));
  await page.getByRole("button", { name: "Done" }).click();
}

/** Answers go on until the context is full, and come slowly. Returns the requests. */
export async function endless(page, context) {
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
export async function answerWith(page, text, cut, wait = 0) {
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

export const events = (pieces) =>
  [...pieces.map((delta) => JSON.stringify({ choices: [{ index: 0, delta }] })), "[DONE]"].map((e) => `data: ${e}\n\n`).join("");

export async function accessible(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document));
  assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), []);
}

export const fits = async (page) =>
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "wider than the window");
