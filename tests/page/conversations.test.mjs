// Conversations of the chat page in headless Chromium: the list, changed questions, attachments, export and import.
//
// In: a server of the sample model (reader.mjs). Out: passed or failed. Invariant: what the reader made is lost only where
// the reader deleted it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe } from "node:test";

import { accessible, answers, ask, endless, fits, last, over, question, reader, settings, url } from "./reader.mjs";

const JAPAN = "What is the capital of Japan?";
const FRANCE = "What is the capital of France?";
const PERU = "What is the capital of Peru?";

const titles = (page) => page.locator("#list .open").allInnerTexts();
const item = (page, title) => page.getByRole("navigation").getByRole("button", { name: title, exact: true });
const fresh = (page) => page.getByRole("button", { name: "New conversation" }).click();
const text = (page) => last(page).locator("> .text").innerText();

async function converse(page, ...questions) {
  for (const one of questions) {
    await ask(page, one);
    await over(page);
  }
}

/** A file as the reader chooses it. */
const file = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });

/** The content of the file that a click saves, and its name. */
async function saved(page, choice) {
  await page.getByRole("button", { name: "Export" }).click();
  const coming = page.waitForEvent("download");
  await page.getByRole("dialog", { name: "Export" }).getByRole("button", { name: choice }).click();
  const download = await coming;
  return [download.suggestedFilename(), readFileSync(await download.path(), "utf8")];
}

describe("conversations of the chat page", () => {
  reader("stand in a list, to be opened, renamed, searched and deleted", {}, async (page) => {
    await converse(page, JAPAN);
    await fresh(page);
    assert.equal(await answers(page).count(), 0);
    await converse(page, FRANCE);
    assert.deepEqual(await titles(page), [FRANCE, JAPAN]);
    await item(page, JAPAN).click();
    assert.match(await text(page), /Tokyo/);
    assert.equal(await item(page, JAPAN).getAttribute("aria-current"), "true");
    // What is asked now belongs to this one, which becomes the first.
    await converse(page, PERU);
    assert.deepEqual(await titles(page), [JAPAN, FRANCE]);
    await page.getByRole("button", { name: `Rename ${JAPAN}` }).click();
    await page.getByRole("textbox", { name: "Title" }).fill("Capitals");
    await page.keyboard.press("Enter");
    assert.deepEqual(await titles(page), ["Capitals", FRANCE]);
    // Escape leaves the title as it was.
    await page.getByRole("button", { name: "Rename Capitals" }).click();
    await page.getByRole("textbox", { name: "Title" }).fill("Other");
    await page.keyboard.press("Escape");
    assert.deepEqual(await titles(page), ["Capitals", FRANCE]);
    await page.reload();
    assert.deepEqual(await titles(page), ["Capitals", FRANCE]);
    assert.equal(await answers(page).count(), 2);
    const search = page.getByRole("searchbox", { name: "Search conversations" });
    for (const [words, found] of [["paris", [FRANCE]], ["lima TOKYO", ["Capitals"]], ["capital", ["Capitals", FRANCE]], ["(nothing", []]]) {
      await search.fill(words);
      assert.deepEqual(await titles(page), found, words);
    }
    await page.getByText("No conversation has these words.").waitFor();
    await search.fill("");
    await accessible(page);
    page.once("dialog", (dialog) => dialog.dismiss());
    await page.getByRole("button", { name: "Delete Capitals" }).click();
    assert.deepEqual(await titles(page), ["Capitals", FRANCE]);
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: "Delete Capitals" }).click();
    assert.deepEqual(await titles(page), [FRANCE]);
    assert.equal(await answers(page).count(), 0);
    await page.reload();
    assert.deepEqual(await titles(page), [FRANCE]);
  });

  reader("go on while another is in view", {}, async (page, context) => {
    await endless(page, context);
    await ask(page, "Hello!");
    await page.waitForFunction(() => document.querySelector("article.assistant > .text")?.textContent.length > 20);
    await page.unroute("**/v1/chat/completions");
    await fresh(page);
    assert.equal(await page.locator("body.busy").count(), 0);
    await page.locator("#list .running").waitFor();
    await converse(page, JAPAN);
    assert.match(await text(page), /Tokyo/);
    assert.equal(await page.locator("#list .running").count(), 1);
    await page.getByRole("navigation").getByRole("button", { name: /^Hello!/ }).click();
    await page.locator("body.busy").waitFor();
    const early = (await text(page)).length;
    await page.waitForFunction((early) => document.querySelector("article.assistant > .text").textContent.length > early, early);
    await page.keyboard.press("Escape");
    await over(page);
    assert.match(await last(page).locator(".note").innerText(), /stopped$/);
    await item(page, JAPAN).click();
    assert.match(await text(page), /Tokyo/);
    assert.equal(await answers(page).count(), 1);
  });

  reader("go on from a changed question", {}, async (page) => {
    await converse(page, JAPAN, FRANCE, PERU);
    await page.getByRole("button", { name: "Edit question" }).nth(1).click();
    const field = page.getByRole("textbox", { name: "Edit question" });
    assert.equal(await field.inputValue(), FRANCE);
    await accessible(page);
    await page.keyboard.press("Escape");
    assert.equal(await field.count(), 0);
    assert.equal(await answers(page).count(), 3);
    await page.getByRole("button", { name: "Edit question" }).nth(1).click();
    await field.fill("What is the capital of Brazil?");
    const sent = page.waitForRequest("**/v1/chat/completions");
    await page.getByRole("button", { name: "Send again" }).click();
    const { messages } = (await sent).postDataJSON();
    assert.deepEqual(messages.map((m) => m.content), [JAPAN, "The capital of Japan is Tokyo.", "What is the capital of Brazil?"]);
    await over(page);
    assert.equal(await text(page), "The capital of Brazil is Brasília.");
    assert.equal(await answers(page).count(), 2);
    // The last one by the keyboard alone.
    await question(page).press("ArrowUp");
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type(PERU);
    await page.keyboard.press("Enter");
    await over(page);
    assert.match(await text(page), /Lima/);
    assert.equal(await answers(page).count(), 2);
    await page.reload();
    assert.deepEqual(await page.locator("article.user > .text").allInnerTexts(), [JAPAN, PERU]);
  });

  reader("take text files along", {}, async (page) => {
    const attach = (...files) => page.locator("#attach-file").setInputFiles(files);
    await attach(file("notes.txt", "One line.\nAnother ``` line.\n"), file("ä b.py", "x = 1"));
    await page.getByText(/^notes.txt · \d+ tokens/).waitFor();
    await accessible(page);
    await page.getByRole("button", { name: "Remove ä b.py" }).click();
    assert.equal(await page.getByRole("list", { name: "Attached files" }).getByRole("listitem").count(), 1);
    const sent = page.waitForRequest("**/v1/chat/completions");
    await ask(page, "What is this?");
    assert.equal((await sent).postDataJSON().messages[0].content, "File notes.txt:\n````\nOne line.\nAnother ``` line.\n````\n\nWhat is this?");
    await over(page);
    assert.equal(await page.locator("#attached li").count(), 0);
    await page.reload();
    await page.locator("article.user").getByText("notes.txt").click();
    assert.equal(await page.locator("article.user pre").innerText(), "One line.\nAnother ``` line.\n");
    // Files that the model cannot read, or not as a whole.
    for (const [bad, said] of [
      [file("p.png", [0x89, 0x50, 0xff, 0x00]), "p.png is not a text file"],
      [file("nul.txt", "a\0b"), "nul.txt is not a text file"],
      [file("empty.txt", " \n"), "empty.txt is empty"],
      [file("long.txt", "word ".repeat(6_000)), /long.txt is too long \([\d,]+ tokens\): the model holds 2,048 tokens \(about 1,434 words\)/],
      [file("huge.txt", "word ".repeat(60_000)), /huge.txt is too long \([\d,]+ KiB\): the model holds/],
    ]) {
      await attach(bad);
      await page.getByRole("alert").filter({ hasText: said }).waitFor();
      assert.equal(await page.locator("#attached li").count(), 0);
    }
    await attach(file("half.txt", "word ".repeat(700)), file("other.txt", "word ".repeat(700)));
    await page.getByRole("alert").filter({ hasText: /other.txt is too long \([\d,]+ tokens, beside [\d,]+ of other files\)/ }).waitFor();
    await page.getByRole("button", { name: "Remove half.txt" }).click();
    // A question may be nothing but a file.
    await attach(file("ask.txt", JAPAN));
    await page.getByText(/^ask.txt · /).waitFor();
    await page.getByRole("button", { name: "Send" }).click();
    await over(page);
    assert.equal(await answers(page).count(), 2);
  });

  reader("are exported and imported", { acceptDownloads: true }, async (page) => {
    await settings(page, (dialog) => dialog.getByLabel("System message").fill("Be brief."));
    await converse(page, JAPAN);
    await fresh(page);
    await converse(page, FRANCE);
    const [markdownName, markdown] = await saved(page, "as Markdown");
    assert.equal(markdownName, "What-is-the-capital-of-France.md");
    assert.match(markdown, /^# What is the capital of France\?\n\n## System message\n\nBe brief.\n\n## You\n\nWhat is the capital of France\?\n\n## \S+\n\nThe capital of France is Paris.\n$/);
    const [jsonName, json] = await saved(page, "This conversation as JSON");
    assert.equal(jsonName, "What-is-the-capital-of-France.json");
    const plain = JSON.parse(json);
    assert.deepEqual(plain.messages.map(({ role, content }) => [role, content]), [["system", "Be brief."], ["user", FRANCE], ["assistant", "The capital of France is Paris."]]);
    const [, all] = await saved(page, "All conversations");
    assert.deepEqual(JSON.parse(all).conversations.map((c) => c.title), [FRANCE, JAPAN]);
    // Into a browser that has nothing.
    await page.evaluate(() => {
      localStorage.clear();
      sessionStorage.clear();
      localStorage.setItem("qwenc.settings", '{"temperature":"0"}');
    });
    await page.goto(url);
    const choose = (...files) => page.locator("#import-file").setInputFiles(files);
    await choose(file("all.json", all));
    await page.getByText("The capital of France is Paris.").waitFor();
    assert.deepEqual((await titles(page)).sort(), [FRANCE, JAPAN]);
    await page.getByText("System message").first().waitFor();
    const sent = page.waitForRequest("**/v1/chat/completions");
    await ask(page, PERU);
    const { messages } = (await sent).postDataJSON();
    assert.deepEqual(messages.map((m) => m.content), ["Be brief.", FRANCE, "The capital of France is Paris.", PERU]);
    await over(page);
    // What the terminal's /save writes, thinking and all.
    const terminal = { messages: [{ role: "user", content: "<b>hi</b>" }, { role: "assistant", content: "<think>\nHm.\n</think>\n\nHello." }], enable_thinking: null };
    await choose(file("terminal.json", JSON.stringify(terminal)));
    await page.getByText("Hello.", { exact: true }).waitFor();
    assert.equal(await page.locator("article.user > .text").innerText(), "<b>hi</b>");
    await last(page).getByText("Thinking").click();
    assert.equal(await last(page).locator("details .text").first().innerText(), "Hm.");
    for (const [bad, said] of [
      ["no json", "bad.json is not a JSON file with conversations"], ["{}", "bad.json holds no messages"], ['{"messages":[{"role":"god","content":"x"}]}', "neither a question nor an answer"],
      ['{"conversations":[{"messages":[]},7]}', "conversation 1 of bad.json holds no messages"], ['[{"role":"user","content":null}]', "neither a question"], ["null", "holds no messages"],
    ]) {
      await choose(file("bad.json", bad));
      await page.getByRole("alert").filter({ hasText: said }).waitFor();
    }
    assert.equal((await titles(page)).length, 3);
  });

  reader("survive what else may stand in the browser's storage", {}, async (page) => {
    await page.evaluate(() => {
      const bad = ["null", "7", "{", '{"messages":7}', '{"messages":[null,7,{"role":"x"},{"role":"user"},{"role":"assistant","content":{}}],"title":{}}', "[]"];
      bad.forEach((value, i) => localStorage.setItem(`qwenc.conversation.bad${i}`, value));
      localStorage.setItem("qwenc.settings", "[1]");
      localStorage.setItem("qwenc.theme", '{"a":1}');
    });
    await page.reload();
    await fresh(page);
    await converse(page, "Hello!");
    assert.match(await text(page), /Hello/);
  });

  reader("are kept as long as the browser has room, and the reader hears when it has none", {}, async (page) => {
    await page.evaluate(() => localStorage.setItem("other", "x".repeat(5 * 2 ** 20 - 2_000)));
    await ask(page, JAPAN + " ".repeat(1) + "word ".repeat(700));
    await page.getByRole("alert").filter({ hasText: "no room left" }).waitFor();
    await over(page);
    assert.ok((await answers(page).count()) === 1);
  });

  reader("stand behind a button where there is no room beside", { viewport: { width: 360, height: 640 } }, async (page) => {
    await converse(page, JAPAN);
    await fits(page);
    const toggle = page.getByRole("button", { name: "Conversations", exact: true });
    assert.equal(await item(page, JAPAN).isVisible(), false);
    await toggle.click();
    assert.equal(await toggle.getAttribute("aria-expanded"), "true");
    assert.equal(await item(page, JAPAN).isVisible(), true);
    await fits(page);
    await accessible(page);
    await page.keyboard.press("Escape");
    assert.equal(await item(page, JAPAN).isVisible(), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), "open-side");
    await toggle.click();
    await page.getByRole("button", { name: "New conversation" }).click();
    assert.equal(await question(page).isVisible(), true);
    assert.equal(await answers(page).count(), 0);
  });
});
