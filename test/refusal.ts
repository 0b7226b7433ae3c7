// What the library says when it refuses something. Used by tests of the public API.
import { expect } from 'vitest';
import { GradmillError } from '../src/index.js';

/** The GradmillError that a call throws or rejects with, as 'code: message'. Anything else fails the test. */
export async function refusal(call: () => unknown): Promise<string> {
  let result: unknown;
  try {
    result = await call();
  } catch (error) {
    if (!(error instanceof GradmillError)) throw new Error('not a GradmillError', { cause: error });
    expect(error.name).toBe('GradmillError');
    // One readable message, however wild the input.
    expect(error.message.length).toBeLessThan(700);
    expect(error.message).not.toMatch(/\[object|NaN numbers|TypeError/);
    return `${error.code}: ${error.message}`;
  }
  return expect.fail(`nothing was refused; the call returned ${JSON.stringify(result)}`);
}
