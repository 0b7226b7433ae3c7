// Everything wrong that can be passed to the library, and what it says: a GradmillError with a stable code that names the
// place, what was expected and what came.
import { createContext, runInContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import {
  activation,
  adagrad,
  adam,
  adamW,
  constant,
  dense,
  glorotUniform,
  type Layer,
  normal,
  rmsprop,
  sequential,
  sgd,
  tensor,
  truncatedNormal,
  uniform,
  varianceScaling,
  zeros,
} from '../src/index.js';
import { gemm } from '../src/kernels.js';
import { refusal } from './refusal.js';

/** Lets a test pass what the types forbid. */
const any = (value: unknown) => value as never;

/** An object that throws when it is looked at. */
const thorn = () =>
  new Proxy(
    {},
    {
      get() {
        throw new RangeError('do not touch');
      },
      ownKeys() {
        throw new RangeError('do not touch');
      },
      getOwnPropertyDescriptor() {
        throw new RangeError('do not touch');
      },
    },
  );
const revoked = () => {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
};
const throwing = (name: string) => Object.defineProperty({}, name, { enumerable: true, get: () => fail() });
function fail(): never {
  throw new RangeError('do not touch');
}
const transferred = <T extends ArrayBufferView>(view: T): T => {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
  return view;
};
const cycle = () => {
  const array: unknown[] = [];
  array.push(array);
  return array;
};

/** Things that are neither numbers, names, flags, lists nor options, with what a message calls them. */
const strange: [string, () => unknown][] = [
  ['null', () => null],
  ['a string', () => 'seven'],
  ['an empty string', () => ''],
  ['true', () => true],
  ['a bigint', () => 7n],
  ['a symbol', () => Symbol('seven')],
  ['a function', () => dense],
  ['a promise', () => Promise.resolve(7)],
  ['a map', () => new Map()],
  ['a date', () => new Date()],
  ['a DataView', () => new DataView(new ArrayBuffer(8))],
  ['an ArrayBuffer', () => new ArrayBuffer(8)],
  ['a bigint array', () => new BigInt64Array(4)],
  ['an object that throws', thorn],
  ['a revoked proxy', revoked],
  ['NaN', () => NaN],
  ['Infinity', () => -Infinity],
];

const wrong = (...but: string[]) => strange.filter(([name]) => !but.includes(name));

interface Case {
  readonly call: () => unknown;
  readonly says: string | RegExp;
}

function refuses(cases: Readonly<Record<string, readonly [call: () => unknown, says: string | RegExp]>>): void {
  test.each(Object.entries(cases).map(([name, [call, says]]): [string, Case] => [name, { call, says }]))('%s', async (_, { call, says }) => {
    const said = await refusal(call);
    if (typeof says === 'string') expect(said).toBe(says);
    else expect(said).toMatch(says);
  });
}

const layers = [dense({ units: 3, activation: 'tanh' }), dense({ units: 2 })];
const untrained = (options = {}) => sequential({ inputShape: [4], layers, ...options });
const compiled = (options = {}) => {
  const model = untrained();
  model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy', ...options });
  return model;
};
const x = tensor(new Float32Array(20), [5, 4]);
const y = [0, 1, 0, 1, 0];

describe('sequential', () => {
  refuses({
    'no options': [() => sequential(any(undefined)), 'invalid-argument: sequential: expected an object of options, got undefined'.replace('undefined', 'nothing')],
  });
});
