// Part of `npm run build`: bench/ into dist/bench, for `gradmill bench`: without types, and with the library's files beside it.
import { cpSync, mkdirSync, readFileSync, writeFileSync, readdirSync } from 'node:fs';
import ts from 'typescript';

const source = new URL('./', import.meta.url);
const out = new URL('../dist/bench/', import.meta.url);
/** Peers that are no TypeScript. Chromium's page and the programs that want a compiler stay in the checkout. */
const PEERS = ['pytorch.py', 'library.mjs', 'tfjs.mjs', 'jaxjs.mjs', 'onnxruntime.mjs', 'brainjs.mjs'];
const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };

mkdirSync(new URL('peers/', out), { recursive: true });
for (const folder of ['', 'peers/'])
  for (const name of readdirSync(new URL(folder, source)).filter((name) => name.endsWith('.ts'))) {
    const { outputText } = ts.transpileModule(readFileSync(new URL(folder + name, source), 'utf8'), { compilerOptions });
    writeFileSync(new URL(folder + name.replace(/ts$/, 'js'), out), outputText.replace(/(['"](?:\.\.\/)+)src\//g, '$1'));
  }
for (const name of PEERS) cpSync(new URL(`peers/${name}`, source), new URL(`peers/${name}`, out));
