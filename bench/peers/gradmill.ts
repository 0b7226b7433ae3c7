// gradmill in a process of its own, whose environment chooses the backend; started and spoken to by peer.ts.
import { createInterface } from 'node:readline';
import { initialize } from '../../src/index.js';
import { type Request, reply } from './requests.js';

const answer = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const { name, isa, threads, strict, reason } = await initialize();
const what = name === 'wasm' ? name : `${name} ${isa}`;
answer({ name: `gradmill ${what}${strict ? ' strict' : ''}`, settings: [], threads, isa, reason });
for await (const line of createInterface({ input: process.stdin })) answer(await reply(JSON.parse(line) as Request));
