// The chat page in headless Chromium, as a reader meets it: questions, answers, problems, settings, keyboard, colours.
//
// In: a server of the sample model (reader.mjs). Out: passed or failed. Invariant: what a server can be brought to say is
// said by the real one; only what it says when overloaded, and bytes cut anywhere, are made up.

import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";

import { accessible, answerWith, answers, ask, endless, events, fits, last, over, question, reader, settings, shots, url } from "./reader.mjs";

describe("the chat page", () => {
  test("comes with headers that let nothing foreign in", async () => {
    for (const [path, type] of [["", "text/html"], ["page/page.css", "text/css"], ["page/main.js", "text/javascript"], ["page/tex.js", "text/javascript"]]) {
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

  reader("says what to do about a question that is too long", { expected: /status of 400/ }, async (page) => {
    await ask(page, "word ".repeat(20_000));
    await over(page);
    const said = await last(page).locator(".wrong > p").innerText();
    assert.match(said, /This question is longer than the model can hold.* 2,048 tokens .*Shorten it or its attachments/);
    assert.doesNotMatch(said, /--|context|oldest/);
    // Alone it cannot be helped by leaving out others.
    assert.equal(await page.getByRole("button", { name: "Leave out" }).isVisible(), false);
    assert.equal(await page.locator(".detail").isVisible(), false);
    await page.getByText("What the server said").click();
    assert.match(await page.locator(".detail").innerText(), /context of 2048 tokens/);
    await page.getByRole("button", { name: "New conversation" }).click();
    await ask(page, "Hello!");
    await over(page);
    assert.match(await last(page).locator("> .text").innerText(), /Hello/);
  });

  reader("leaves out the oldest messages where the context is full", { expected: /status of 400/ }, async (page) => {
    const long = (word) => `${`${word} `.repeat(400)}`;
    await answerWith(page, events([{ content: long("first") }]), false);
    await ask(page, "one");
    await over(page);
    await answerWith(page, events([{ content: long("second") }]), false);
    await ask(page, "two");
    await over(page);
    await page.reload();
    const requests = [];
    page.on("request", (r) => r.url().endsWith("chat/completions") && requests.push(r.postDataJSON().messages));
    await ask(page, `${long("third")} What is the capital of Japan?`);
    await over(page);
    assert.match(await last(page).locator(".wrong > p").innerText(), /Leave out the oldest messages/);
    await page.getByRole("button", { name: "Leave out the oldest messages" }).click();
    await page.waitForFunction(() => document.querySelector("article.assistant:last-child > .text")?.textContent);
    await over(page);
    assert.equal(await last(page).locator(".wrong").isVisible(), false);
    assert.equal(requests[0].length, 5);
    assert.ok(requests[1].length < 5 && requests[1].at(-1).content.endsWith("What is the capital of Japan?"), `${requests[1].length}`);
    assert.equal(await page.locator("article.left").count(), 5 - requests[1].length);
    await page.getByText("Left out: the model does not get this any more.").first().waitFor();
    await page.reload();
    assert.equal(await page.locator("article.left").count(), 5 - requests[1].length);
    await accessible(page);
  });

  const refusals = [
    [429, { "Retry-After": "3" }, "The server is busy with other questions. Worth another try in 3 s."],
    [503, { "Retry-After": "2" }, "The server takes no questions at the moment. Worth another try in 2 s."],
    [401, {}, "This server wants an API key. Enter it under Settings."],
    [403, {}, /by the address that the server showed/],
    [413, {}, /too large to be sent/],
    [500, {}, "Something went wrong in the server. Try again in a moment."],
    [418, {}, "The server refused this question."],
  ];
  for (const [status, headers, expected] of refusals) {
    reader(`says what status ${status} means, and tries again`, { expected: /status of/ }, async (page) => {
      const body = JSON.stringify({ error: { message: `refused with ${status}` } });
      await page.route("**/v1/chat/completions", (route) => route.fulfill({ status, headers, body }));
      await ask(page, "What is the capital of Japan?");
      await over(page);
      const said = await last(page).locator(".wrong > p").innerText();
      if (expected instanceof RegExp) assert.match(said, expected);
      else assert.equal(said, expected);
      assert.equal(await last(page).locator(".detail").textContent(), `refused with ${status}`);
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
    await page.getByRole("alert").filter({ hasText: "Enter it under Settings" }).waitFor();
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
    await other.getByRole("button", { name: "What is the capital of Japan?", exact: true }).click();
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
    assert.match(await last(page).locator(".wrong > p").innerText(), /does not answer/);
    await answerWith(page, 'data: {"choices":[{"delta":{"content":"half"}}]}\n\n', false);
    await ask(page, "Hello!");
    await over(page);
    assert.equal(await last(page).locator("> .text").innerText(), "half");
    assert.match(await last(page).locator(".wrong > p").innerText(), /connection broke off/);
    await answerWith(page, 'data: {"error":{"message":"it broke"}}\n\n', false);
    await ask(page, "Hello!");
    await over(page);
    assert.match(await last(page).locator(".wrong > p").innerText(), /^Something went wrong/);
    assert.equal(await last(page).locator(".detail").textContent(), "it broke");
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
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press("Shift+Tab");
      names.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent));
      if (names.at(-1) === "New conversation") break;
    }
    // The model may have thought, or not.
    const title = "What is the capital of Japan?";
    assert.deepEqual(names.filter((n) => n !== "Thinking"), [
      "Attach text files", "Regenerate", "Copy answer", "Edit question", "Copy question", "Conversation", "Export", "Import", `Delete ${title}`, `Rename ${title}`, title,
      "", "New conversation",
    ]);
    await page.keyboard.press("Enter");
    await page.getByText("Ask something. Conv").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
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
