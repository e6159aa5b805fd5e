// What the programs in this folder share: where the installed packages are, and a TLS server that says what it has seen.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { argv, stdout } from 'node:process';
import { pathToFileURL } from 'node:url';

/** What a test asks for: the JSON of the file that is the first argument. */
export const settings = JSON.parse(readFileSync(argv[2], 'utf8'));

/** A package of the folder that `ensure` names, which is none of this file's own folders. */
export const part = (name) => {
  const found = createRequire(join(settings.parts, 'package.json')).resolve(name);
  return import(pathToFileURL(found));
};

/** Tells the test something: a line of JSON. */
export const tell = (what) => stdout.write(`${JSON.stringify(what)}\n`);

/** Serves on a free port of 127.0.0.1, with the certificate of the settings; `handler` is made for the origin. */
export const serve = async (handler) => {
  const server = createServer({ cert: settings.certificate, key: settings.key });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `https://127.0.0.1:${server.address().port}`;
  server.on('request', await handler(origin));
  tell({ listens: origin });
};
