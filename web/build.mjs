// Bundles src/player.ts into analysis/templates/player.js, with the licences of all that is in it at its end.
// `node build.mjs --out FILE` writes elsewhere: a test compares that with the file that is committed.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const position = process.argv.indexOf("--out");
const out = position > 0 ? process.argv[position + 1] : join(here, "../analysis/templates/player.js");

const result = await build({
  absWorkingDir: here,
  entryPoints: ["src/player.ts"],
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "ascii", // the page may be read as anything
  legalComments: "eof",
  metafile: true,
  write: false,
});

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) packages.add(found[1]);
}
const licences = new Map();
for (const name of [...packages].sort()) {
  const { version, license } = JSON.parse(await readFile(join(here, "node_modules", name, "package.json"), "utf8"));
  const text = (await readFile(join(here, "node_modules", name, "LICENSE"), "utf8")).trim();
  licences.set(text, [...(licences.get(text) ?? []), `${name} ${version} (${license})`]);
}
const notice = [...licences].map(([text, names]) => `${names.join(", ")}\n\n${text}`).join("\n\n");
const code = result.outputFiles[0].text;
// Stands in an HTML page: nothing in it may end the element.
if (/<\/script/i.test(code + notice)) throw new Error("the bundle holds </script");
await writeFile(out, `${code.trimEnd()}\n/*! What is bundled here:\n\n${notice.replaceAll("*/", "* /")}\n*/\n`);
console.log(`${out}: ${(code.length / 1024).toFixed(1)} kB of ${[...packages].sort().join(", ")}`);
