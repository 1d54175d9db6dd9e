// Open the page in headless Chromium, give it pictures as a user does, and print as JSON
// what it shows and computes:
//     node drive.mjs '{"folder": ..., "chromium": ..., "url": ..., "pictures": [...]}'
// `folder` holds node_modules; without pictures, the button for the sample pair is used.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { folder, chromium, url, pictures, screenshot, width = 1280 } = JSON.parse(process.argv[2]);
const found = createRequire(`${folder}/`).resolve('puppeteer-core');
const { default: puppeteer } = await import(pathToFileURL(found));

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ['--no-sandbox', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream'],
  timeout: 120000,
  protocolTimeout: 300000,
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(240000);
  await page.setViewport({ width, height: 960 });
  const complaints = [];
  const requests = [];
  page.on('console', (message) => {
    // Chromium's own warning where the page asks for a GPU and there is none.
    if (message.text() === 'No available adapters.') return;
    if (['error', 'warn'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(url);
  await page.waitForFunction(
    () => globalThis.kpextract?.extractor || !document.querySelector('#message').hidden,
  );
  await give(page, pictures);
  const seen = await page.evaluate(() => {
    const { slots, pairs, extractor } = globalThis.kpextract;
    const text = (selector) => document.querySelector(selector).textContent;
    return {
      message: document.querySelector('#message').hidden ? null : text('#message'),
      engine: text('#engine'),
      keypoints: text('#keypoints'),
      matches: text('#matches'),
      network: text('#network'),
      isolated: crossOriginIsolated,
      backend: extractor?.backend,
      pairs,
      features: slots.map(({ features }) => features && {
        keypoints: Array.from(features.keypoints), scores: Array.from(features.scores),
        sigma: features.sigma && Array.from(features.sigma),
      }),
      overflow: document.documentElement.scrollWidth - innerWidth,
      unlabeled: [...document.querySelectorAll('button, input, canvas')].filter((each) =>
        !each.textContent && !each.ariaLabel && !each.labels?.length && !each.ariaHidden).length,
    };
  });
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ ...seen, complaints, requests }));
} finally {
  await browser.close();
}

async function give(page, given) {
  if (await page.$eval('#message', (message) => !message.hidden)) return;
  if (given === 'camera') {
    await page.click('#first .camera');
    await page.waitForFunction(() => globalThis.kpextract.slots[0].features?.count > 0);
    await page.click('#first .camera');
    await page.waitForFunction(() => !globalThis.kpextract.isBusy);
    return;
  }
  if (given) {
    const inputs = await page.$$('input[type=file]');
    for (const [index, path] of given.entries()) await inputs[index].uploadFile(path);
  } else {
    await page.click('#sample');
  }
  await page.waitForFunction((count) => {
    const { slots, isBusy } = globalThis.kpextract;
    const done = slots.filter(({ features }) => features).length >= count && !isBusy;
    return done || !document.querySelector('#message').hidden;
  }, {}, given ? given.length : 2);
}
