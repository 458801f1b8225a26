// Draws one board in headless Chromium: reads what to draw from its input as JSON, writes a PNG, and prints
// how each panel went.
//
//   node draw.mjs DIRECTORY CHROMIUM PNG < drawing.json
import { createServer } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const TYPES = { css: 'text/css', html: 'text/html', js: 'text/javascript', svg: 'image/svg+xml' };

const PATIENCE = 60_000; // milliseconds

const [directory, executablePath, png] = process.argv.slice(2);
const drawing = JSON.parse(await text(process.stdin));

// Components fetch their icons, which a page of a file may not.
const server = createServer(async (request, response) => {
  const path = normalize(new URL(request.url, 'http://page').pathname);
  const icon = path.match(/^\/public\/build\/(img\/icons\/.*)$/);
  const file = icon ? join(directory, '../node_modules/@grafana/ui/dist/public', icon[1]) : join(directory, path);
  try {
    const content = await readFile(file);
    response.writeHead(200, { 'Content-Type': TYPES[path.split('.').pop()] ?? 'application/octet-stream' });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}).listen(0, '127.0.0.1');
await new Promise((listening) => server.once('listening', listening));

// In the page, before its own scripts: what to draw, and how many answers it waits for.
function prepare(drawing) {
  const { fetch } = window;
  window.drawing = drawing;
  window.asking = 0;
  window.fetch = (...request) => {
    window.asking += 1;
    return fetch(...request).finally(() => { window.asking -= 1; });
  };
}

// In the page: whether every panel has been drawn, and its icons have come.
const done = () =>
  window.drawn && !window.asking && Object.values(window.drawn).every(({ state }) => state !== 'waiting');

const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: PATIENCE });
try {
  const page = await browser.newPage({ viewport: { width: drawing.width, height: 1000 } });
  page.setDefaultTimeout(PATIENCE);
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.addInitScript(prepare, drawing);
  await page.goto(`http://127.0.0.1:${server.address().port}/index.html`);
  await page.waitForFunction(done).catch(({ message }) => errors.push(message));
  await page.evaluate(() => document.fonts.ready);
  // What is below the window's edge, a browser may leave out.
  const { height } = await page.locator('#board').boundingBox();
  await page.setViewportSize({ width: drawing.width, height: Math.ceil(height) });
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  await writeFile(png, await page.locator('#board').screenshot());
  const panels = await page.evaluate(() =>
    Object.values(window.drawn).map((panel) => {
      const content = document.querySelector(`[data-panel="${panel.id}"] [data-testid="data-testid panel content"]`);
      const text = content?.innerText ?? '';
      const empty = panel.state === 'drawn' && text.trim() === 'No data';
      return { ...panel, text, state: empty ? 'no data' : panel.state };
    })
  );
  console.log(JSON.stringify({ panels, errors }));
} finally {
  await browser.close();
  server.close();
}
