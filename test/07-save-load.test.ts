// Model files: what comes back is what was saved, bit for bit; and nothing in a file can do more than be refused.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  activation,
  adagrad,
  adam,
  adamW,
  constant,
  dense,
  GradmillError,
  heNormal,
  loadModel,
  type LossOptions,
  rmsprop,
  sequential,
  type SequentialOptions,
  sgd,
  tensor,
  truncatedNormal,
  varianceScaling,
} from '../src/index.js';
import { ACTIVATION_NAMES } from '../src/activations.js';
import { LOSS_NAMES } from '../src/losses.js';
import { decodeSafetensors, encodeSafetensors } from '../src/safetensors.js';
import { VERSION } from '../src/version.js';
import { bitsOf } from './bits.js';
import { refusal } from './refusal.js';

let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-models-'));
  path = join(folder, 'model.safetensors');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const any = (value: unknown) => value as never;
const x = tensor(
  Float32Array.from({ length: 32 }, (_, i) => Math.fround(((i * 37) % 17) / 8 - 1)),
  [8, 4],
);
const y = [0, 1, 2, 0, 1, 2, 0, 1];
const rows = (units: number) => tensor(new Float32Array(8 * units).fill(0.5), [8, units]);

const network = (options: Partial<SequentialOptions> = {}) =>
  sequential({
    inputShape: [4],
    seed: 11,
    layers: [dense({ units: 5, activation: 'tanh' }), dense({ units: 3, name: 'logits' })],
    ...options,
  });
function compiled(options = {}) {
  const model = network();
  model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], ...options });
  return model;
}

describe('what was saved comes back', () => {
  test('weights bit for bit, predictions, architecture', async () => {
    const model = compiled();
    await model.fit(x, y, { epochs: 3 });
    await model.save(path);
    const loaded = await loadModel(path);
    expect(bitsOf(loaded.weights)).toEqual(bitsOf(model.weights));
    expect(bitsOf(await loaded.predict(x))).toEqual(bitsOf(await model.predict(x)));
    expect(await loaded.evaluate(x, y)).toEqual(await model.evaluate(x, y));
    expect(loaded.summary()).toBe(model.summary());
    expect(loaded.metadata).toEqual({});
  });

  test('weights of any finite bits', async () => {
    const model = network();
    const strange = [-0, 1e-45, -1e-45, 3.4028234663852886e38, 1.17549435e-38];
    model.setWeights([{ name: 'dense1/bias', data: strange }]);
    await model.save(path);
    expect(bitsOf((await loadModel(path)).weights[1].data)).toEqual(bitsOf(Float32Array.from(strange)));
  });

  test('the file is plain safetensors, with version and names', async () => {
    const model = compiled();
    await model.save(path, { metadata: { note: 'αβ "quoted"' } });
    const { metadata, tensors } = decodeSafetensors(await readFile(path));
    expect(tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ['dense1/kernel', [4, 5]],
      ['dense1/bias', [5]],
      ['logits/kernel', [5, 3]],
      ['logits/bias', [3]],
    ]);
    expect(metadata).toMatchObject({ format: 'gradmill-model-1', gradmill: VERSION, note: 'αβ "quoted"' });
    expect(JSON.parse(metadata.model)).toMatchObject({
      inputShape: [4],
      seed: 11,
      layers: [{ kind: 'dense', name: 'dense1', units: 5 }, { name: 'logits' }],
    });
  });

  test.each(ACTIVATION_NAMES)('activation %s', async (name) => {
    for (const layer of [
      activation(name),
      activation({ name: 'elu', alpha: 0.3 }),
      activation({ name: 'leakyRelu', negativeSlope: 0.5 }),
    ]) {
      const model = sequential({
        inputShape: [4],
        layers: [dense({ units: 6, activation: layer }), layer, dense({ units: 2, activation: name })],
      });
      await model.save(path);
      const loaded = await loadModel(path);
      expect(bitsOf(await loaded.predict(x))).toEqual(bitsOf(await model.predict(x)));
      expect(loaded.summary()).toBe(model.summary());
    }
  });

  test('options of layers', async () => {
    const layers = [
      dense({ units: 3, useBias: false, kernelInitializer: heNormal(), name: 'ähnlich 1' }),
      dense({ units: 2, kernelInitializer: truncatedNormal({ standardDeviation: 0.1 }), biasInitializer: constant({ value: 0.25 }) }),
      dense({
        units: 2,
        kernelInitializer: varianceScaling({ scale: 3, mode: 'fanOut', distribution: 'uniform' }),
        biasInitializer: 'ones',
      }),
    ];
    const model = sequential({ inputShape: [2, 2], layers });
    await model.save(path);
    const loaded = await loadModel(path);
    await loaded.save(`${path}.again`);
    expect(await readFile(`${path}.again`)).toEqual(await readFile(path));
    expect(loaded.summary()).toBe(model.summary());
  });

  test.each([
    ['one number', { mean: 0.25, standardDeviation: 3 }],
    ['a number each', { mean: [1, 2, 3, 4], standardDeviation: [1, 0.1, 1e-3, 7] }],
  ])('input scaling of %s', async (_, inputScaling) => {
    const model = network({ inputScaling });
    await model.save(path);
    expect(bitsOf(await (await loadModel(path)).predict(x))).toEqual(bitsOf(await model.predict(x)));
  });

  test.each([
    ['sgd', sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 1e-3 })],
    ['rmsprop', rmsprop({ rho: 0.5, epsilon: 1e-3 })],
    ['adagrad', adagrad({ clipValue: 0.01 })],
    ['adam', adam({ beta1: 0.5, clipGlobalNorm: 0.1 })],
    ['adamW', adamW({ weightDecay: 0.5 })],
  ])('training with %s goes on as compiled anew', async (_, optimizer) => {
    const model = compiled({ optimizer });
    await model.fit(x, y, { epochs: 2 });
    await model.save(path);
    const loaded = await loadModel(path);
    model.compile({ optimizer, loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
    const [wanted, history] = [await model.fit(x, y, { epochs: 3 }), await loaded.fit(x, y, { epochs: 3 })];
    expect(history.loss).toEqual(wanted.loss);
    expect(history.accuracy).toEqual(wanted.accuracy);
    expect(bitsOf(loaded.weights)).toEqual(bitsOf(model.weights));
  });

  test.each(LOSS_NAMES)('loss %s', async (name) => {
    const options: Partial<LossOptions> = { huber: { delta: 0.3 }, softmaxCrossEntropy: { labelSmoothing: 0.2 } }[name as 'huber'] ?? {};
    for (const reduction of ['mean', 'sum'] as const) {
      const model = compiled({ loss: { name, reduction, ...options }, metrics: [] });
      await model.save(path);
      expect(await (await loadModel(path)).evaluate(x, rows(3))).toEqual(await model.evaluate(x, rows(3)));
    }
  });

  test('a model that was not compiled is not compiled', async () => {
    await network().save(path);
    const loaded = await loadModel(path);
    expect(await refusal(() => loaded.fit(x, y))).toMatch(/^not-compiled: /);
    loaded.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
    await loaded.fit(x, y);
  });

  test('metadata stays with the model until replaced', async () => {
    const model = network();
    await model.save(path, { metadata: { columns: '["a"]', empty: '' } });
    const loaded = await loadModel(path);
    expect(loaded.metadata).toEqual({ columns: '["a"]', empty: '' });
    await loaded.save(path);
    expect((await loadModel(path)).metadata).toEqual({ columns: '["a"]', empty: '' });
    await loaded.save(path, { metadata: {} });
    expect((await loadModel(path)).metadata).toEqual({});
    expect(() => Object.assign(loaded.metadata, { columns: '' })).toThrow(TypeError);
  });

  test('a model of one weight and one of none', async () => {
    for (const layers of [[dense({ units: 1, useBias: false })], [activation('relu')]]) {
      const model = sequential({ inputShape: [1], layers });
      await model.save(path);
      expect(await (await loadModel(path)).predict([1, 2])).toEqual(await model.predict([1, 2]));
    }
  });
});

describe('save', () => {
  test('waits for the fit before it, and comes before the fit after it', async () => {
    const model = compiled();
    const twin = compiled();
    const [first, saved, second] = [model.fit(x, y, { epochs: 20 }), model.save(path), model.fit(x, y, { epochs: 20 })];
    await Promise.all([first, saved, second]);
    await twin.fit(x, y, { epochs: 20 });
    expect(bitsOf((await loadModel(path)).weights)).toEqual(bitsOf(twin.weights));
  });

  test('within a callback saves that moment', async () => {
    const model = compiled();
    const moments: unknown[] = [];
    await model.fit(x, y, {
      epochs: 3,
      onEpoch: async ({ epoch }) => {
        await model.save(`${path}-${epoch}`);
        moments.push(bitsOf(model.weights));
      },
    });
    for (const epoch of [1, 2, 3]) expect(bitsOf((await loadModel(`${path}-${epoch}`)).weights)).toEqual(moments[epoch - 1]);
    expect(moments[0]).not.toEqual(moments[1]);
  });

  test('replaces a file, and leaves nothing beside it', async () => {
    const own = join(folder, 'own');
    await mkdir(own);
    await writeFile(join(own, 'model'), 'something else');
    await network().save(join(own, 'model'));
    await loadModel(join(own, 'model'));
    expect(await readdir(own)).toEqual(['model']);
  });

  const model = network();
  const cases: Record<string, [call: () => unknown, says: RegExp]> = {
    'into a folder that is not there': [
      () => model.save(join(folder, 'no', 'model')),
      /^file-io: cannot write '.*no\/model': no such file or directory/,
    ],
    'over a folder': [() => model.save(folder), /^file-io: cannot write '.*': exists and is not a regular file$/],
    'over a device': [() => model.save('/dev/full'), /^file-io: cannot write '\/dev\/full': /],
    'into a file as if it were a folder': [() => model.save('/dev/null/model'), /^file-io: /],
    'with too long a name': [() => model.save(join(folder, 'n'.repeat(300))), /^file-io: /],
    nowhere: [() => model.save(''), /^invalid-argument: save: expected a path, got ''$/],
    'to a name with a zero byte': [() => model.save('a\0b'), /^invalid-argument: save: expected a path, got /],
    'to a number': [() => model.save(any(5)), /^invalid-argument: save: expected a path, got 5$/],
    'to nothing': [() => model.save(any(undefined)), /^invalid-argument: save: expected a path, got undefined$/],
    'with a misspelt option': [
      () => model.save(path, any({ metdata: {} })),
      /^unknown-name: unknown option of save 'metdata', did you mean 'metadata'\?$/,
    ],
    'with metadata that is no object': [() => model.save(path, { metadata: any(null) }), /^invalid-argument: save: metadata: /],
    'with metadata that is a list': [
      () => model.save(path, { metadata: any(['a']) }),
      /^invalid-argument: save: metadata: expected an object of options, got an array of 1$/,
    ],
    'with a number in metadata': [
      () => model.save(path, { metadata: { a: any(5) } }),
      /^invalid-argument: save: metadata: 'a': expected text, got 5$/,
    ],
    'with nothing in metadata': [
      () => model.save(path, { metadata: { a: any(undefined) } }),
      /^invalid-argument: save: metadata: 'a': expected text, got undefined$/,
    ],
    'with a key of our own': [
      () => model.save(path, { metadata: { model: '{}' } }),
      /^invalid-argument: save: metadata: the key 'model' is gradmill's own$/,
    ],
    'with more metadata than a header holds': [() => model.save(path, { metadata: { a: 'a'.repeat(17 * 2 ** 20) } }), /^size-overflow: /],
  };
  test.each(Object.entries(cases))('%s', async (_, [call, says]) => {
    expect(await refusal(call)).toMatch(says);
  });

  test.runIf(process.getuid?.() !== 0)('into a folder that may not be written', async () => {
    const closed = join(folder, 'closed');
    await mkdir(closed);
    await chmod(closed, 0o500);
    expect(await refusal(() => model.save(join(closed, 'model')))).toMatch(/^file-io: .*permission denied/);
  });
});

describe('loadModel', () => {
  const cases: Record<string, [call: () => unknown, says: RegExp]> = {
    'of a file that is not there': [
      () => loadModel(join(folder, 'nothing')),
      /^file-io: cannot read '.*nothing': no such file or directory \(ENOENT\)$/,
    ],
    'of a folder': [() => loadModel(folder), /^file-io: cannot read '.*': not a regular file$/],
    'of a device that never ends': [() => loadModel('/dev/zero'), /^file-io: cannot read '\/dev\/zero': not a regular file$/],
    'of a link that leads to itself': [
      async () => {
        await symlink('circle', join(folder, 'circle')).catch(() => undefined);
        await loadModel(join(folder, 'circle'));
      },
      /^file-io: /,
    ],
    'of nothing': [() => loadModel(any(undefined)), /^invalid-argument: loadModel: expected a path or a Uint8Array, got undefined$/],
    'of a name with a zero byte': [() => loadModel('a\0b'), /^invalid-argument: loadModel: expected a path/],
  };
  test.each(Object.entries(cases))('%s', async (_, [call, says]) => {
    expect(await refusal(call)).toMatch(says);
  });
});

describe('a file that somebody tampered with', () => {
  interface Parts {
    readonly config: Record<string, unknown>;
    readonly metadata: Record<string, string>;
    readonly tensors: ReturnType<typeof decodeSafetensors>['tensors'];
  }
  let parts: Parts;
  beforeAll(async () => {
    const model = compiled();
    await model.save(path);
    const { metadata, tensors } = decodeSafetensors(await readFile(path));
    parts = { metadata, tensors, config: JSON.parse(metadata.model) as Record<string, unknown> };
  });

  interface Change {
    readonly config?: unknown;
    readonly json?: string;
    readonly metadata?: Record<string, string>;
    readonly tensors?: Parts['tensors'];
  }
  let files = 0;
  /** Loads the parts with some of them replaced. */
  async function load({ config = parts.config, json = JSON.stringify(config), metadata = {}, tensors = parts.tensors }: Change) {
    const file = join(folder, `tampered-${files++}`);
    const known = { ...parts.metadata, model: json, ...metadata };
    const kept = Object.fromEntries(Object.entries(known).filter((entry) => (entry[1] as unknown) !== undefined));
    await writeFile(file, Buffer.concat(encodeSafetensors(tensors, kept)));
    try {
      return await loadModel(file);
    } finally {
      await rm(file);
    }
  }
  const weight = (change: (tensor: Parts['tensors'][number], i: number) => object) => ({
    tensors: parts.tensors.map((tensor, i) => ({ ...tensor, ...change(tensor, i) })),
  });
  const replaced = (data: ArrayLike<number>, at: number, value: number) => {
    const copy = Float32Array.from(data);
    copy[at] = value;
    return copy;
  };
  const layer = (options: object, i = 0): Change => ({
    config: { ...parts.config, layers: (parts.config.layers as object[]).map((layer, j) => (i === j ? { ...layer, ...options } : layer)) },
  });
  const config = (options: object): Change => ({ config: { ...parts.config, ...options } });

  test('unchanged, it loads', async () => {
    await load({});
  });

  const cases: Record<string, [change: () => Change, says: RegExp]> = {
    'no format': [() => ({ metadata: { format: any(undefined) } }), /: not a gradmill model$/],
    'another format': [() => ({ metadata: { format: 'gradmill-model-2' } }), /: not a gradmill model$/],
    'no model': [() => ({ metadata: { model: any(undefined) } }), /: not a gradmill model$/],
    'no JSON': [() => ({ json: '{' }), /JSON/],
    'JSON that is a number': [() => ({ json: '5' }), /model: expected an object of options, got 5$/],
    'JSON that is null': [() => ({ json: 'null' }), /model: expected an object of options, got null$/],
    'deep JSON': [() => ({ json: `{"layers":${'['.repeat(1e5)}${']'.repeat(1e5)}}` }), /./],
    'a polluted prototype': [() => ({ json: '{"__proto__":{"units":1},"inputShape":[4]}' }), /unknown option of model '__proto__'/],
    'a polluted prototype in a layer': [
      () => ({ json: '{"inputShape":[4],"seed":1,"layers":[{"kind":"dense","units":5,"__proto__":{"polluted":1}}]}' }),
      /unknown option of dense '__proto__'/,
    ],
    'a polluted prototype in the optimizer': [
      () => ({
        json: JSON.stringify({ ...parts.config, training: 0 }).replace(
          '"training":0',
          '"training":{"optimizer":{"name":"sgd","__proto__":{"polluted":1}},"loss":"huber","metrics":[]}',
        ),
      }),
      /unknown option of sgd '__proto__'/,
    ],
    'a constructor': [() => config({ constructor: { prototype: {} } }), /unknown option of model 'constructor'/],
    'no layers': [() => config({ layers: [] }), /at least one layer/],
    'layers in an object': [() => config({ layers: { length: 2 } }), /layers: expected an array/],
    'a layer that is null': [() => config({ layers: [null] }), /model: layer/],
    'a layer of no kind': [() => layer({ kind: undefined }), /layer: expected a name, got undefined$/],
    'an unknown kind of layer': [() => layer({ kind: 'Dense' }), /unknown layer 'Dense', did you mean 'dense'\?$/],
    'a kind that every object has': [() => layer({ kind: 'toString' }), /unknown layer 'toString'/],
    'huge units': [() => layer({ units: 2 ** 31 }), /units: expected at most 2147483647/],
    'units that no file holds': [
      () => layer({ units: 2 ** 30 }),
      /weight 'dense1\/kernel': expected \[4, 1073741824\], the file has shape \[4, 5\]$/,
    ],
    'negative units': [() => layer({ units: -1 }), /units: expected at least 1, got -1$/],
    'units as text': [() => layer({ units: '5' }), /units: expected a whole number, got '5'$/],
    'a layer option that does not exist': [() => layer({ unit: 5 }), /unknown option of dense 'unit'/],
    'a name that is a number': [() => layer({ name: 5 }), /expected a name of 1 to 100 characters without '\/', got 5$/],
    'a name with a slash': [() => layer({ name: '../dense1' }), /expected a name of 1 to 100 characters/],
    'a name twice': [() => layer({ name: 'logits' }), /another layer is named 'logits' too$/],
    'another name': [() => layer({ name: 'dense9' }), /weight 'dense1\/kernel': expected no such weight, the file has shape \[4, 5\]$/],
    'an activation made by hand': [
      () => layer({ activation: { activation: { name: 'relu', code: 99, parameter: 0, derivativeNeedsInput: false } } }),
      /activation: expected a name, got undefined$/,
    ],
    'an initialiser made by hand': [
      () => layer({ kernelInitializer: { record: 'function' } }),
      /initialiser \(dense: kernelInitializer\): expected a name/,
    ],
    'a misspelt initialiser': [
      () => layer({ kernelInitializer: { name: 'constructor' } }),
      /unknown initialiser \(dense: kernelInitializer\) 'constructor'/,
    ],
    'a giant inputShape': [() => config({ inputShape: [2 ** 31] }), /inputShape\[0\]: expected at most 2147483647/],
    'an inputShape that overflows': [() => config({ inputShape: [2 ** 30, 2 ** 30] }), /has more than 2147483647 numbers$/],
    'an inputShape that no file holds': [() => config({ inputShape: [2 ** 30] }), /weight 'dense1\/kernel': expected \[1073741824, 5\]/],
    'an endless inputShape': [
      () => config({ inputShape: new Array(20_000).fill(1) }),
      /inputShape: expected at most 10000 elements, got 20000$/,
    ],
    'a giant input without weights': [
      () => ({
        ...config({
          inputShape: [2 ** 30],
          inputScaling: { mean: 0, standardDeviation: 1 },
          layers: [{ kind: 'activation', name: 'a', activation: 'relu' }],
          training: undefined,
        }),
        tensors: [],
      }),
      /an input of 1073741824 numbers for 0 weights$/,
    ],
    'endless layers': [
      () => ({ ...config({ layers: new Array(50_000).fill({ kind: 'activation', activation: 'relu' }) }), tensors: [] }),
      /layers: expected at most 10000 elements/,
    ],
    'a negative seed': [() => config({ seed: -1 }), /seed: expected at least 0, got -1$/],
    'a scaling of another width': [
      () => config({ inputScaling: { mean: [1], standardDeviation: 1 } }),
      /inputScaling: mean: expected a number or 4 numbers, got 1$/,
    ],
    'a deviation of 0': [
      () => config({ inputScaling: { mean: 0, standardDeviation: 0 } }),
      /standardDeviation: expected more than 0, got 0$/,
    ],
    'a scaling that is null': [() => config({ inputScaling: null }), /inputScaling: expected an object of options, got null$/],
    'training that is null': [() => config({ training: null }), /training: expected an object of options, got null$/],
    'an optimizer that is null': [() => config({ training: { optimizer: null, loss: 'huber', metrics: [] } }), /model: optimizer/],
    'an unknown optimizer': [
      () => config({ training: { optimizer: { name: 'adamw' }, loss: 'huber', metrics: [] } }),
      /unknown optimizer 'adamw', did you mean 'adamW'\?$/,
    ],
    'an unknown loss': [
      () => config({ training: { optimizer: { name: 'sgd' }, loss: 'toString', metrics: [] } }),
      /unknown loss 'toString'/,
    ],
    'an unknown metric': [
      () => config({ training: { optimizer: { name: 'sgd' }, loss: 'huber', metrics: ['f1'] } }),
      /unknown metric 'f1'/,
    ],
    'a weight too few': [() => ({ tensors: parts.tensors.slice(1) }), /weight 'dense1\/kernel' is missing$/],
    'no weights': [() => ({ tensors: [] }), /weight 'dense1\/kernel' is missing$/],
    'a weight too many': [
      () => ({ tensors: [...parts.tensors, { name: 'extra/kernel', shape: [1], dtype: 'F32', data: new Float32Array(1) }] }),
      /weight 'extra\/kernel': expected no such weight/,
    ],
    'weights under another name': [
      () => weight(({ name }) => ({ name: name.replace('kernel', 'kernal') })),
      /weight 'dense1\/kernal': expected no such weight, the file has shape \[4, 5\]$/,
    ],
    'a weight turned round': [
      () => weight(({ shape }) => ({ shape: [...shape].reverse() })),
      /weight 'dense1\/kernel': expected \[4, 5\], the file has shape \[5, 4\]$/,
    ],
    'a flat weight': [
      () => weight(({ data }) => ({ shape: [data.length] })),
      /weight 'dense1\/kernel': expected \[4, 5\], the file has shape \[20\]$/,
    ],
    'a NaN': [
      () => weight(({ data }, i) => ({ data: i === 3 ? replaced(data, 2, NaN) : data })),
      /'logits\/bias': element 2: expected a number that is finite in float32, got NaN$/,
    ],
    'an infinity': [
      () => weight(({ data }, i) => ({ data: i === 0 ? replaced(data, 19, -Infinity) : data })),
      /'dense1\/kernel': element 19: .* got -Infinity$/,
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [change, says]) => {
    const said = await refusal(() => load(change()));
    expect(said).toMatch(/^file-invalid: '.*tampered-\d+': /);
    expect(said).toMatch(says);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  /** Every place in the JSON, as a list of keys. */
  const placesIn = (value: unknown, at: string[] = []): string[][] => [
    at,
    ...(typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([key, child]) => placesIn(child, [...at, key])) : []),
  ];
  const put = (value: unknown, [key, ...rest]: string[], junk: unknown): unknown => {
    if (key === undefined) return junk;
    const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...(value as object) }) as Record<string, unknown>;
    copy[key] = put(copy[key], rest, junk);
    return copy;
  };
  const junk = [
    null,
    true,
    -1,
    0,
    0.5,
    2 ** 31,
    2 ** 53,
    1e308,
    1e39,
    '',
    'a',
    'toString',
    '__proto__',
    [],
    [[]],
    {},
    { name: 'adam' },
    { length: 1e9 },
    [null],
    'x'.repeat(1e5),
  ];

  test('anything anywhere is refused, or means what it says', async () => {
    const model = sequential({
      inputShape: [4],
      seed: 3,
      inputScaling: { mean: [1, 2, 3, 4], standardDeviation: 2 },
      layers: [
        dense({
          units: 3,
          activation: { name: 'elu', alpha: 0.5 },
          kernelInitializer: truncatedNormal({ standardDeviation: 0.2 }),
          name: 'one',
        }),
        activation({ name: 'leakyRelu', negativeSlope: 0.1 }),
        dense({ units: 2, useBias: false }),
      ],
    });
    model.compile({ optimizer: sgd({ momentum: 0.9, clipGlobalNorm: 1 }), loss: { name: 'huber', delta: 2 }, metrics: ['accuracy'] });
    await model.save(path);
    const { metadata, tensors } = decodeSafetensors(await readFile(path));
    const original = JSON.parse(metadata.model) as unknown;
    let accepted = 0;
    for (const place of placesIn(original))
      for (const value of junk) {
        const config = put(original, place, value);
        try {
          const loaded = await load({ config, tensors });
          accepted++;
          // What was accepted works.
          loaded.summary();
          await loaded.predict(rows(4)).catch((error: unknown) => {
            expect(error).toBeInstanceOf(GradmillError);
          });
        } catch (error) {
          if (!(error instanceof GradmillError))
            throw new Error(`${place.join('.')} = ${JSON.stringify(value).slice(0, 50)}`, { cause: error });
          expect(['file-invalid', 'out-of-memory']).toContain(error.code);
          expect(error.message.length).toBeLessThan(700);
        }
      }
    expect(accepted).toBeGreaterThan(20);
  });

  test('truncated anywhere, it is refused', async () => {
    await compiled().save(path);
    const bytes = await readFile(path);
    for (let length = 0; length < bytes.length; length += 13) {
      await writeFile(path, bytes.subarray(0, length));
      expect(await refusal(() => loadModel(path))).toMatch(/^file-invalid: /);
    }
  });
});
