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
import {
  activationStats,
  deadUnits,
  diagnose,
  duplicateUnits,
  gradcheck,
  gradientFlow,
  initReport,
  preflight,
  signAgreement,
} from '../src/diagnostics/index.js';
import { gemm } from '../src/kernels.js';
import { masksOf, pruneByMagnitude, removableUnits, removeUnits, setMasks, sparsity } from '../src/pruning/index.js';
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
  test.each(Object.entries(cases).map(([name, [call, says]]): [string, Case] => [name, { call, says }]))(
    '%s',
    async (_, { call, says }) => {
      const said = await refusal(call);
      if (typeof says === 'string') expect(said).toBe(says);
      else expect(said).toMatch(says);
    },
  );
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
    'no options': [() => sequential(any(undefined)), /^invalid-argument: sequential: expected an object of options, got undefined$/],
    'an array of options': [() => sequential(any([])), /^invalid-argument: sequential: .* got an array of 0$/],
    'a forgotten await': [() => sequential(any(Promise.resolve({}))), /^invalid-argument: sequential: .* got a value of type Promise$/],
    'a misspelt option': [
      () => untrained({ layres: [] }),
      /^unknown-name: unknown option of sequential 'layres', did you mean 'layers'\?$/,
    ],
    'an option far from all': [
      () => untrained({ zzzzzzz: 1 }),
      /^unknown-name: .*'zzzzzzz' \(known: inputShape, layers, seed, inputScaling\)$/,
    ],
    'a very long option': [() => untrained({ ['z'.repeat(1e6)]: 1 }), /^unknown-name: unknown option of sequential 'z{100}…'/],
    'options that throw': [() => sequential(any(thorn())), /^invalid-argument: sequential: reading it failed: do not touch$/],
    'an option that throws': [() => sequential(any(throwing('layers'))), /^invalid-argument: sequential: reading it failed: do not touch$/],
    'no inputShape': [
      () => untrained({ inputShape: undefined }),
      /^invalid-argument: sequential: inputShape: expected an array, got undefined$/,
    ],
    'a number as inputShape': [() => untrained({ inputShape: 4 }), /^invalid-argument: sequential: inputShape: expected an array, got 4$/],
    'an empty inputShape': [() => untrained({ inputShape: [] }), /^invalid-argument: sequential: inputShape: expected at least one size/],
    'a zero in inputShape': [
      () => untrained({ inputShape: [4, 0] }),
      /^invalid-argument: sequential: inputShape\[1\]: expected at least 1, got 0$/,
    ],
    'a negative inputShape': [
      () => untrained({ inputShape: [-4] }),
      /^invalid-argument: sequential: inputShape\[0\]: expected at least 1, got -4$/,
    ],
    'a fraction in inputShape': [
      () => untrained({ inputShape: [2.5] }),
      /^invalid-argument: sequential: inputShape\[0\]: expected a whole number, got 2.5$/,
    ],
    'a hole in inputShape': [
      () => untrained({ inputShape: new Array(2) }),
      /^invalid-argument: sequential: inputShape\[0\]: .* got undefined$/,
    ],
    'a huge inputShape': [
      () => untrained({ inputShape: [2 ** 31] }),
      /^size-overflow: sequential: inputShape\[0\]: expected at most 2147483647, got 2147483648$/,
    ],
    'an inputShape whose product overflows': [
      () => untrained({ inputShape: [2 ** 20, 2 ** 20] }),
      /^size-overflow: sequential: inputShape \[1048576, 1048576\]/,
    ],
    'an inputShape of infinite product': [() => untrained({ inputShape: new Array(100).fill(2 ** 30) }), /^size-overflow: /],
    'an inputShape of four billion sizes': [
      () => untrained({ inputShape: new Array(2 ** 32 - 1) }),
      /^size-overflow: sequential: inputShape: expected at most 10000 elements/,
    ],
    'no layers': [() => untrained({ layers: [] }), /^invalid-argument: sequential: layers: expected at least one layer, got none$/],
    'layers that are no list': [
      () => untrained({ layers: dense({ units: 1 }) }),
      /^invalid-argument: sequential: layers: expected an array, got an object$/,
    ],
    'a layer that is a name': [
      () => untrained({ layers: [dense({ units: 1 }), 'dense'] }),
      /^invalid-argument: sequential: layers\[1\]: expected a layer such as dense\(\{ units \}\), got 'dense'$/,
    ],
    'a layer that is a function': [
      () => untrained({ layers: [dense] }),
      /^invalid-argument: sequential: layers\[0\]: .* got the function dense$/,
    ],
    'a layer of the wrong make': [
      () => untrained({ layers: [{ build: 5 }] }),
      /^invalid-argument: sequential: layers\[0\]: .* got an object$/,
    ],
    'a layer that throws': [() => untrained({ layers: [thorn()] }), /^invalid-argument: /],
    'a hole among the layers': [() => untrained({ layers: new Array(1) }), /^invalid-argument: sequential: layers\[0\]: .* got undefined$/],
    'two layers of one name': [
      () => untrained({ layers: [dense({ units: 1, name: 'a' }), dense({ units: 1, name: 'a' })] }),
      /^invalid-argument: sequential: layers\[1\]: another layer is named 'a' too$/,
    ],
    'a name that a nameless layer gets': [
      () => untrained({ layers: [dense({ units: 1, name: 'dense2' }), dense({ units: 1 })] }),
      /^invalid-argument: sequential: layers\[1\]: another layer is named 'dense2' too$/,
    ],
    'too many layers': [
      () => untrained({ layers: new Array<Layer>(10_001).fill(activation('relu')) }),
      /^size-overflow: sequential: layers: /,
    ],
    'kernels that no machine holds': [
      () => sequential({ inputShape: [2 ** 30], layers: [dense({ units: 2 ** 30 })] }),
      /^size-overflow: \d+ bytes: too many for any machine$/,
    ],
    'kernels that this machine does not hold': [
      () => sequential({ inputShape: [2 ** 20], layers: [dense({ units: 2 ** 20 })] }),
      /^out-of-memory: 4398\d+ bytes: (this process may use \d+|WebAssembly memory ends at 4 GiB, \d+ are left)$/,
    ],
    'a fractional seed': [() => untrained({ seed: 0.5 }), /^invalid-argument: sequential: seed: expected a whole number, got 0.5$/],
    'a negative seed': [() => untrained({ seed: -1 }), /^invalid-argument: sequential: seed: expected at least 0, got -1$/],
    'a scaling without deviation': [
      () => untrained({ inputScaling: { mean: 0 } }),
      /^invalid-argument: inputScaling: standardDeviation: .* got undefined$/,
    ],
    'a scaling of another width': [
      () => untrained({ inputScaling: { mean: [1, 2, 3], standardDeviation: 1 } }),
      /^shape-mismatch: inputScaling: mean: expected a number or 4 numbers, got 3$/,
    ],
    'a deviation of zero': [
      () => untrained({ inputScaling: { mean: 0, standardDeviation: [1, 1, 0, 1] } }),
      /^invalid-argument: inputScaling: standardDeviation\[2\]: expected more than 0, got 0$/,
    ],
    'a deviation whose inverse overflows': [
      () => untrained({ inputScaling: { mean: 0, standardDeviation: 1e-300 } }),
      /^invalid-argument: 1 \/ inputScaling/,
    ],
    'a mean that is NaN': [
      () => untrained({ inputScaling: { mean: NaN, standardDeviation: 1 } }),
      /^invalid-argument: inputScaling: mean: expected a finite number, got NaN$/,
    ],
    'a misspelt scaling': [
      () => untrained({ inputScaling: { mean: 0, standardDevation: 1 } }),
      /^unknown-name: .*did you mean 'standardDeviation'/,
    ],
  });

  describe.each(['inputShape', 'layers', 'seed', 'inputScaling'])('%s', (name) => {
    test.each(strange)('%s', async (_, make) => {
      expect(await refusal(() => untrained({ [name]: make() }))).toMatch(/^(invalid-argument|unknown-name): .*(sequential|inputScaling)/);
    });
  });
});

describe('dense', () => {
  refuses({
    'no options': [() => dense(any(undefined)), /^invalid-argument: dense: expected an object of options, got undefined$/],
    'a number of units alone': [() => dense(any(3)), /^invalid-argument: dense: expected an object of options, got 3$/],
    'no units': [() => dense(any({})), /^invalid-argument: dense: units: expected a whole number, got undefined$/],
    'zero units': [() => dense({ units: 0 }), /^invalid-argument: dense: units: expected at least 1, got 0$/],
    'negative units': [() => dense({ units: -3 }), /^invalid-argument: dense: units: expected at least 1, got -3$/],
    'fractional units': [() => dense({ units: 1.5 }), /^invalid-argument: dense: units: expected a whole number, got 1.5$/],
    'too many units': [() => dense({ units: 2 ** 31 }), /^size-overflow: dense: units: expected at most 2147483647, got 2147483648$/],
    'far too many units': [() => dense({ units: Number.MAX_VALUE }), /^size-overflow: dense: units/],
    'a misspelt option': [
      () => dense(any({ units: 3, activaton: 'relu' })),
      /^unknown-name: unknown option of dense 'activaton', did you mean 'activation'\?$/,
    ],
    'a misspelt activation': [
      () => dense({ units: 3, activation: any('rellu') }),
      /^unknown-name: unknown activation 'rellu', did you mean 'relu'\?$/,
    ],
    'a method as activation': [
      () => dense({ units: 3, activation: any('constructor') }),
      /^unknown-name: unknown activation 'constructor'/,
    ],
    'an activation of the wrong make': [
      () => dense({ units: 3, activation: any({ activation: { code: 99 } }) }),
      /^invalid-argument: activation: expected a name, got undefined$/,
    ],
    'an activation that is a dense layer': [
      () => dense({ units: 3, activation: any(dense({ units: 1 })) }),
      /^invalid-argument: activation: |^unknown-name/,
    ],
    'a parameter of another activation': [
      () => dense({ units: 3, activation: { name: 'elu', negativeSlope: 1 } }),
      /^unknown-name: unknown option of activation 'elu' 'negativeSlope'/,
    ],
    'a misspelt initialiser': [
      () => dense({ units: 3, kernelInitializer: any('heNormall') }),
      /^unknown-name: unknown initialiser \(dense: kernelInitializer\) 'heNormall', did you mean 'heNormal'\?$/,
    ],
    'an initialiser that was not called': [
      () => dense({ units: 3, kernelInitializer: any(zeros) }),
      /^invalid-argument: dense: kernelInitializer: expected an initialiser such as heNormal\(\), or its name, got the function/,
    ],
    'an initialiser of the wrong make': [
      () => dense({ units: 3, biasInitializer: any({ record: true }) }),
      /^invalid-argument: initialiser \(dense: biasInitializer\): expected a name/,
    ],
    'a constant without value': [
      () => dense({ units: 3, biasInitializer: 'constant' }),
      /^invalid-argument: constant: value: expected a finite number, got undefined$/,
    ],
    ...Object.fromEntries(
      [false, 0, '', null].map((value) => [
        `${JSON.stringify(value)} as regulariser`,
        [() => dense({ units: 3, kernelRegularizer: any(value) }), /^invalid-argument: regulariser: expected l1/] as const,
      ]),
    ),
    'an empty name': [
      () => dense({ units: 3, name: '' }),
      /^invalid-argument: dense: name: expected a name of 1 to 100 characters without '\/', got ''$/,
    ],
    'a name with a slash': [() => dense({ units: 3, name: 'a/b' }), /^invalid-argument: dense: name: .* got 'a\/b'$/],
    'a name with a control character': [() => dense({ units: 3, name: 'a\u001b' }), /^invalid-argument: dense: name: /],
    'a name without end': [() => dense({ units: 3, name: 'a'.repeat(1e6) }), /^invalid-argument: dense: name: /],
  });

  describe.each([
    ['units', wrong()],
    ['useBias', wrong('true')],
    ['activation', wrong()],
    ['kernelInitializer', wrong()],
    ['biasInitializer', wrong()],
    ['name', wrong('a string')],
  ])('%s', (name, values) => {
    test.each(values)('%s', async (_, make) => {
      expect(await refusal(() => dense(any({ units: 3, [name]: make() })))).toMatch(/^(invalid-argument|unknown-name): /);
    });
  });
});

describe('activation', () => {
  refuses({
    'a misspelt name': [() => activation(any('sigmiod')), /^unknown-name: unknown activation 'sigmiod', did you mean 'sigmoid'\?$/],
    'a misspelt name in an object': [
      () => activation({ name: any('leakyrelu') }),
      /^unknown-name: unknown activation 'leakyrelu', did you mean 'leakyRelu'\?$/,
    ],
    'a misspelt parameter': [
      () => activation(any({ name: 'leakyRelu', negativeSlop: 1 })),
      /^unknown-name: .*did you mean 'negativeSlope'\?$/,
    ],
    'a negative slope below 0': [
      () => activation({ name: 'leakyRelu', negativeSlope: -0.1 }),
      /^invalid-argument: activation 'leakyRelu': negativeSlope must be at least 0, got -0.1$/,
    ],
    'an alpha of 0': [
      () => activation({ name: 'elu', alpha: 0 }),
      /^invalid-argument: activation 'elu': alpha must be more than 0, got 0$/,
    ],
    'an alpha that float32 does not hold': [
      () => activation({ name: 'elu', alpha: 1e39 }),
      /^invalid-argument: activation 'elu': alpha: 1e\+39 is too large for a float32$/,
    ],
    'a name that throws': [() => activation(any(throwing('name'))), /^invalid-argument: activation: reading it failed: do not touch$/],
    'a cycle': [() => activation(any(cycle())), /^invalid-argument: activation/],
  });

  test.each(strange)('%s', async (_, make) => {
    expect(await refusal(() => activation(any(make())))).toMatch(/^(invalid-argument|unknown-name): .*activation/);
  });
  test.each(strange)('%s as parameter', async (_, make) => {
    expect(await refusal(() => activation(any({ name: 'elu', alpha: make() })))).toMatch(
      /^invalid-argument: activation 'elu': alpha: expected a finite number/,
    );
  });
});

describe('initialisers', () => {
  refuses({
    'zeros with options': [() => zeros(any({ value: 1 })), /^unknown-name: unknown option of zeros 'value'/],
    'glorotUniform with options': [() => glorotUniform(any({ gain: 1 })), /^unknown-name: unknown option of glorotUniform 'gain'/],
    'a constant of nothing': [() => constant(any(undefined)), /^invalid-argument: constant: expected an object of options/],
    'a constant of infinity': [
      () => constant({ value: Infinity }),
      /^invalid-argument: constant: value: expected a finite number, got Infinity$/,
    ],
    'a constant that float32 does not hold': [
      () => constant({ value: 1e39 }),
      /^invalid-argument: constant: value: 1e\+39 is too large for a float32$/,
    ],
    'a negative deviation': [
      () => normal({ standardDeviation: -1 }),
      /^invalid-argument: normal: standardDeviation: expected at least 0, got -1$/,
    ],
    'a misspelt deviation': [() => truncatedNormal(any({ standardDevation: 1 })), /^unknown-name: .*did you mean 'standardDeviation'\?$/],
    'a range upside down': [() => uniform({ low: 1, high: 0 }), /^invalid-argument: uniform: high: expected at least 1, got 0$/],
    'a scale of 0': [() => varianceScaling({ scale: 0 }), /^invalid-argument: varianceScaling: scale: expected more than 0, got 0$/],
    'a misspelt mode': [
      () => varianceScaling({ mode: any('fanin') }),
      /^unknown-name: unknown mode of varianceScaling 'fanin', did you mean 'fanIn'\?$/,
    ],
    'a misspelt distribution': [
      () => varianceScaling({ distribution: any('gaussian') }),
      /^unknown-name: unknown distribution of varianceScaling 'gaussian'/,
    ],
  });
});

describe('optimizers', () => {
  refuses({
    'a misspelt option': [
      () => adam(any({ learnigRate: 1 })),
      /^unknown-name: unknown option of adam 'learnigRate', did you mean 'learningRate'\?$/,
    ],
    'an option of another optimizer': [() => sgd(any({ beta1: 0.9 })), /^unknown-name: unknown option of sgd 'beta1'/],
    'a number': [() => sgd(any(0.1)), /^invalid-argument: sgd: expected an object of options, got 0.1$/],
    'a negative learning rate': [
      () => adagrad({ learningRate: -1 }),
      /^invalid-argument: adagrad: learningRate: expected at least 0, got -1$/,
    ],
    'a learning rate that is NaN': [
      () => adamW({ learningRate: NaN }),
      /^invalid-argument: adamW: learningRate: expected a finite number, got NaN$/,
    ],
    'a learning rate that float32 does not hold': [
      () => sgd({ learningRate: 1e39 }),
      /^invalid-argument: sgd: learningRate: 1e\+39 is too large for a float32$/,
    ],
    'a learning rate as text': [
      () => adam({ learningRate: any('1e-3') }),
      /^invalid-argument: adam: learningRate: expected a finite number, got '1e-3'$/,
    ],
    'an epsilon of 0': [() => rmsprop({ epsilon: 0 }), /^invalid-argument: rmsprop: epsilon: expected at least 1e-30, got 0$/],
    'an epsilon that float32 rounds to 0': [
      () => adam({ epsilon: 1e-50 }),
      /^invalid-argument: adam: epsilon: expected at least 1e-30, got 1e-50$/,
    ],
    'a beta of 1': [() => adam({ beta1: 1 }), /^invalid-argument: adam: beta1: expected at least 0 and less than 1, got 1$/],
    'a rho of 1': [() => rmsprop({ rho: 1 }), /^invalid-argument: rmsprop: rho: expected at least 0 and less than 1, got 1$/],
    'a negative momentum': [() => sgd({ momentum: -0.5 }), /^invalid-argument: sgd: momentum: expected at least 0, got -0.5$/],
    'nesterov without momentum': [() => sgd({ nesterov: true }), /^invalid-argument: sgd: nesterov needs momentum above 0$/],
    'nesterov as a number': [
      () => sgd({ momentum: 0.9, nesterov: any(1) }),
      /^invalid-argument: sgd: nesterov: expected true or false, got 1$/,
    ],
    'a clip of 0': [() => sgd({ clipValue: 0 }), /^invalid-argument: sgd: clipValue: expected more than 0, got 0$/],
    'a negative norm': [() => sgd({ clipGlobalNorm: -1 }), /^invalid-argument: sgd: clipGlobalNorm: expected more than 0, got -1$/],
  });

  describe.each(Object.entries({ sgd, rmsprop, adagrad, adam, adamW }))('%s', (_, make) => {
    test.each(strange)('%s', async (name, value) => {
      expect(await refusal(() => make(any(value())))).toMatch(/^invalid-argument: /);
      expect(await refusal(() => make({ learningRate: any(value()) }))).toMatch(
        /^invalid-argument: .*learningRate: expected a finite number/,
      );
      expect(await refusal(() => make({ clipGlobalNorm: any(value()) })), name).toMatch(
        /^invalid-argument: .*clipGlobalNorm: expected a finite number/,
      );
    });
  });
});

describe('compile', () => {
  refuses({
    'no options': [() => untrained().compile(any(undefined)), /^invalid-argument: compile: expected an object of options, got undefined$/],
    'a misspelt option': [
      () => compiled({ metric: ['accuracy'] }),
      /^unknown-name: unknown option of compile 'metric', did you mean 'metrics'\?$/,
    ],
    'no optimizer': [
      () => compiled({ optimizer: undefined }),
      /^invalid-argument: compile: optimizer: expected sgd\(…\), adam\(…\) or another optimizer, got undefined$/,
    ],
    "an optimizer's name": [() => compiled({ optimizer: 'adam' }), /^invalid-argument: compile: optimizer: .* got 'adam'$/],
    'an optimizer that was not called': [
      () => compiled({ optimizer: adam }),
      /^invalid-argument: compile: optimizer: .* got the function adam$/,
    ],
    "an optimizer's settings": [
      () => compiled({ optimizer: { name: 'adam', hyper: [] } }),
      /^invalid-argument: compile: optimizer: .* got an object$/,
    ],
    'no loss': [() => compiled({ loss: undefined }), /^invalid-argument: loss: expected a name or \{ name, … \}, got undefined$/],
    'a misspelt loss': [
      () => compiled({ loss: 'softmaxCrossEntrophy' }),
      /^unknown-name: unknown loss 'softmaxCrossEntrophy', did you mean 'softmaxCrossEntropy'\?$/,
    ],
    'a loss of another library': [() => compiled({ loss: 'mse' }), /^unknown-name: unknown loss 'mse' \(known: meanSquaredError, /],
    'a loss without name': [() => compiled({ loss: {} }), /^invalid-argument: loss: expected a name, got undefined$/],
    'an option of another loss': [
      () => compiled({ loss: { name: 'huber', labelSmoothing: 0.1 } }),
      /^unknown-name: unknown option of loss 'huber' 'labelSmoothing'/,
    ],
    'a delta of 0': [
      () => compiled({ loss: { name: 'huber', delta: 0 } }),
      /^invalid-argument: huber: delta: expected more than 0, got 0$/,
    ],
    'a label smoothing of 1': [
      () => compiled({ loss: { name: 'softmaxCrossEntropy', labelSmoothing: 1 } }),
      /^invalid-argument: softmaxCrossEntropy: labelSmoothing: expected at least 0 and less than 1, got 1$/,
    ],
    'a misspelt reduction': [
      () => compiled({ loss: { name: 'huber', reduction: 'avg' } }),
      /^unknown-name: unknown reduction of loss 'huber' 'avg' \(known: mean, sum\)$/,
    ],
    'a misspelt metric': [() => compiled({ metrics: ['acuracy'] }), /^unknown-name: unknown metric 'acuracy', did you mean 'accuracy'\?$/],
    'a metric alone': [() => compiled({ metrics: 'accuracy' }), /^invalid-argument: compile: metrics: expected an array, got 'accuracy'$/],
    'no threads': [() => compiled({ threads: 0 }), /^invalid-argument: compile: threads: expected at least 1 and at most 1024, got 0$/],
    'half a thread': [() => compiled({ threads: 1.5 }), /^invalid-argument: compile: threads: expected a whole number, got 1.5$/],
    'strict as a number': [() => compiled({ strict: 1 }), /^invalid-argument: compile: strict: expected true or false, got 1$/],
    'fuse as text': [() => compiled({ fuse: 'no' }), /^invalid-argument: compile: fuse: expected true or false, got 'no'$/],
  });

  describe.each(['optimizer', 'loss', 'metrics', 'threads', 'strict', 'fuse'])('%s', (name) => {
    test.each(wrong(...(['strict', 'fuse'].includes(name) ? ['true'] : [])))('%s', async (_, make) => {
      expect(await refusal(() => compiled({ [name]: make() }))).toMatch(/^(invalid-argument|unknown-name): /);
    });
  });

  test('a refused compile changes nothing', async () => {
    const model = compiled({ metrics: ['accuracy'] });
    await refusal(() => model.compile({ optimizer: adam(), loss: any('mse') }));
    await refusal(() => model.compile({ optimizer: any({ record: () => 0 }), loss: 'meanSquaredError' }));
    expect(Object.keys(await model.trainOnBatch(x, y))).toEqual(['loss', 'accuracy']);
  });
});

describe('data', () => {
  const shape = (shape: unknown) => ({ data: new Float32Array(20), shape });
  const cases: Record<string, readonly [unknown, RegExp]> = {
    nothing: [undefined, /^invalid-argument: x: expected tensor\(data, shape\), a numeric typed array or nested arrays, got undefined$/],
    'no data': [{ shape: [5, 4] }, /^invalid-argument: x: .* got an object whose data is undefined$/],
    'data in an array': [{ data: [1, 2], shape: [1, 2] }, /^invalid-argument: x: .* whose data is an array of 2$/],
    bigints: [{ data: new BigUint64Array(4), shape: [1, 4] }, /^invalid-argument: x: .* whose data is a value of type BigUint64Array$/],
    'an ArrayBuffer': [new ArrayBuffer(16), /^invalid-argument: x: .* got a value of type ArrayBuffer/],
    'a DataView': [new DataView(new ArrayBuffer(16)), /^invalid-argument: x: .* got a value of type DataView/],
    'a pretended typed array': [Object.create(Float32Array.prototype), /^invalid-argument: x: /],
    'no shape': [shape(undefined), /^invalid-argument: x: expected a shape such as \[rows, columns\], got undefined$/],
    'an empty shape': [shape([]), /^invalid-argument: x: expected a shape such as \[rows, columns\], got an array of 0$/],
    'a shape of text': [shape('5,4'), /^invalid-argument: x: expected a shape such as \[rows, columns\], got '5,4'$/],
    'a negative shape': [shape([-5, -4]), /^invalid-argument: x: expected a shape of whole numbers, got -5 for dimension 0$/],
    'a fractional shape': [shape([2.5, 8]), /^invalid-argument: x: expected a shape of whole numbers, got 2.5 for dimension 0$/],
    'a hole in the shape': [shape(new Array(2)), /^invalid-argument: x: expected a shape of whole numbers, got undefined for dimension 0$/],
    'a shape of objects that throw': [shape([5, thorn()]), /^invalid-argument: x: /],
    'a shape that is too large': [shape([5, 5]), /^shape-mismatch: x: shape \[5, 5\] holds 25 numbers, the data 20$/],
    'a shape that is too small': [shape([4, 4]), /^shape-mismatch: x: shape \[4, 4\] holds 16 numbers, the data 20$/],
    'a shape that overflows': [shape([2 ** 40, 2 ** 40]), /^size-overflow: x: shape \[1099511627776, 1099511627776\] is too large$/],
    'too many columns': [shape([4, 5]), /^shape-mismatch: x: the model's input has 4 numbers an example, x has 5$/],
    'no columns': [
      { data: new Float32Array(0), shape: [5, 0] },
      /^shape-mismatch: x: the model's input has 4 numbers an example, x has 0$/,
    ],
    'flat rows': [new Float32Array(20), /^shape-mismatch: x: .*; for 5 examples pass tensor\(data, \[5, 4\]\)$/],
    'data that throws': [throwing('data'), /^invalid-argument: x: reading it failed: do not touch$/],
    'a shape that throws': [
      Object.assign(throwing('shape'), { data: new Float32Array(20) }),
      /^invalid-argument: x: reading it failed: do not touch$/,
    ],
    'a transferred buffer': [
      { data: transferred(new Float32Array(20)), shape: [5, 4] },
      /^buffer-detached: x: its buffer was transferred or resized$/,
    ],
    'a transferred array': [transferred(new Float32Array(20)), /^buffer-detached: x: /],
    'ragged rows': [
      [
        [1, 2, 3, 4],
        [1, 2, 3],
      ],
      /^shape-mismatch: x: row 1 has an array of 3 where row 0 has 4$/,
    ],
    'raggedness that adds up': [
      [
        [
          [1, 2],
          [3, 4],
        ],
        [[1], [2, 3, 4]],
      ],
      /^shape-mismatch: x: row 1 has an array of 1 where row 0 has 2$/,
    ],
    'a row that is no array': [[[1, 2, 3, 4], 5], /^shape-mismatch: x: row 1: expected an array of 4, got 5$/],
    'a missing row': [[[1, 2, 3, 4], undefined], /^shape-mismatch: x: row 1: expected an array of 4, got undefined$/],
    'a hole between rows': [
      Object.assign(new Array(3), { 0: [1, 2, 3, 4], 2: [1, 2, 3, 4] }),
      /^shape-mismatch: x: row 1: expected an array of 4, got undefined$/,
    ],
    'a hole in a row': [
      [[1, 2, 3, 4], Object.assign(new Array(4), { 0: 1 })],
      /^invalid-argument: x: row 1, column 1: expected a number, got undefined$/,
    ],
    'a hole first': [[new Array(4)], /^invalid-argument: x: row 0: expected a number, got undefined$/],
    'text among numbers': [[[1, 2, '3', 4]], /^invalid-argument: x: row 0, column 2: expected a number, got '3'$/],
    'null among numbers': [
      [
        [1, 2, 3, 4],
        [1, 2, 3, null],
      ],
      /^invalid-argument: x: row 1, column 3: expected a number, got null$/,
    ],
    'a bigint among numbers': [[[1, 2, 3, 4n]], /^invalid-argument: x: row 0, column 3: expected a number, got 4n$/],
    'a bigint array as row': [
      [[1, 2, 3, 4], new BigInt64Array(4)],
      /^shape-mismatch: x: row 1: expected an array of 4, got a value of type BigInt64Array$/,
    ],
    'a row deeper than the first': [
      [
        [1, 2, 3, 4],
        [[1], [2], [3], [4]],
      ],
      /^invalid-argument: x: row 1, column 0: expected a number, got an array of 1$/,
    ],
    'rows of different types': [
      [new Uint8Array(4), new Float32Array(4)],
      /^invalid-argument: x: row 1: expected Uint8Array as in row 0, got a value of type Float32Array$/,
    ],
    'rows of bytes, then of numbers': [
      [new Uint8Array(4), [0.5, 1, 1, 1]],
      /^invalid-argument: x: row 1: expected Uint8Array as in row 0, got an array of 4$/,
    ],
    'a cycle': [cycle(), /^invalid-argument: x: arrays are nested more than 16 deep$/],
    'four billion rows': [Object.assign(new Array(2 ** 32 - 1), { 0: [1, 2, 3, 4] }), /^(out-of-memory|shape-mismatch): /],
    'a row that throws': [[[1, 2, 3, 4], thorn()], /^shape-mismatch: x: row 1: expected an array of 4, got /],
    NaN: [
      [
        [1, 2, 3, 4],
        [1, NaN, 3, 4],
      ],
      /^non-finite-input: x: row 1, column 1: expected a number that is finite in float32, got NaN$/,
    ],
    infinity: [
      [
        [1, 2, 3, 4],
        [1, 2, 3, -Infinity],
      ],
      /^non-finite-input: x: row 1, column 3: .* got -Infinity$/,
    ],
    'a number that float32 does not hold': [
      { data: Float64Array.of(1, 2, 3e38, 3.5e38), shape: [1, 4] },
      /^non-finite-input: x: row 0, column 3: .* got 3.5e\+38$/,
    ],
  };

  describe.each([
    ['predict', (x: unknown) => compiled().predict(any(x))],
    ['predictSync', (x: unknown) => compiled().predictSync(any(x))],
    ['fit', (x: unknown) => compiled().fit(any(x), [0])],
    ['evaluate', (x: unknown) => compiled().evaluate(any(x), [0])],
    ['trainOnBatch', (x: unknown) => compiled().trainOnBatch(any(x), [0])],
    ['gradients', (x: unknown) => compiled().gradients(any(x), [0])],
  ])('%s', (method, call) => {
    // One label for whatever x holds: a wrong number of rows is told last where two things are wrong.
    const labelled = Object.entries(cases).filter(([, [x]]) => method.startsWith('predict') || !Array.isArray(x) || x.length === 1);
    refuses(Object.fromEntries(labelled.map(([name, [x, says]]) => [name, [() => call(x), says]])));
    test.each(wrong())('%s', async (_, make) => {
      expect(await refusal(() => call(make()))).toMatch(/^invalid-argument: x: /);
    });
  });

  describe('fit and evaluate', () => {
    const train = (x: unknown, y: unknown, options = {}) => compiled().fit(any(x), any(y), options);
    refuses({
      'nothing at all': [() => train([], []), /^empty-data: x and y are empty$/],
      'no rows': [() => train({ data: new Float32Array(0), shape: [0, 4] }, []), /^empty-data: x and y are empty$/],
      'no rows to evaluate': [() => compiled().evaluate([], []), /^empty-data: x and y are empty$/],
      'no targets': [() => train(x, undefined), /^invalid-argument: y: expected tensor\(data, shape\)/],
      'fewer targets than rows': [() => train(x, [0, 1]), /^shape-mismatch: x has 5 examples, y has 2$/],
      'targets of another width': [
        () => train(x, new Array(5).fill([1, 0, 0])),
        /^shape-mismatch: y: loss 'softmaxCrossEntropy' expects a class label or 2 numbers an example, y has 3$/,
      ],
      'a label beyond the classes': [
        () => train(x, [0, 1, 0, 2, 0]),
        /^label-out-of-range: y: row 3: expected a class label, a whole number from 0 to 1, got 2$/,
      ],
      'a negative label': [() => train(x, Int8Array.of(0, 1, -1, 0, 1)), /^label-out-of-range: y: row 2: .* got -1$/],
      'a fractional label': [() => train(x, [0, 0.5, 1, 0, 1]), /^label-out-of-range: y: row 1: .* got 0.5$/],
      'a label that is NaN': [() => train(x, [0, 1, 0, 1, NaN]), /^label-out-of-range: y: row 4: .* got NaN$/],
      'a huge label': [() => train(x, Uint32Array.of(0, 1, 0, 1, 2 ** 32 - 1)), /^label-out-of-range: y: row 4: .* got 4294967295$/],
      'a label to evaluate': [() => compiled().evaluate(x, [0, 1, 0, 2, 0]), /^label-out-of-range: y: row 3: /],
      'a label of a batch': [() => compiled().trainOnBatch(x, [0, 1, 0, 2, 0]), /^label-out-of-range: y: row 3: /],
      'a label to differentiate by': [() => compiled().gradients(x, [0, 1, 0, 2, 0]), /^label-out-of-range: y: row 3: /],
      'a target that is not finite': [
        () => {
          const model = compiled({ loss: 'meanSquaredError' });
          return model.fit(x, [
            [0, 1],
            [0, 1],
            [0, NaN],
            [0, 1],
            [0, 1],
          ]);
        },
        /^non-finite-input: y: row 2, column 1: .* got NaN$/,
      ],
      'a number that scaling makes too large': [
        () => untrained({ inputScaling: { mean: 0, standardDeviation: 1e-38 } }).predict([[0, 0, 0, 1e10]]),
        /^non-finite-input: x: row 0 holds a number that is too large for float32 once scaled$/,
      ],
      'one output for two classes': [
        async () => {
          const model = sequential({ inputShape: [4], layers: [dense({ units: 1 })] });
          model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
          await model.fit(x, y);
        },
        /^label-out-of-range: y: row 1: .* from 0 to 0, got 1; the model has one output: for two classes use binaryCrossEntropy$/,
      ],
      'a model that is not compiled': [() => untrained().fit(x, y), /^not-compiled: compile the model first/],
      'evaluation of such': [() => untrained().evaluate(x, y), /^not-compiled: /],
      'a step of such': [() => untrained().trainOnBatch(x, y), /^not-compiled: /],
      'gradients of such': [() => untrained().gradients(x, y), /^not-compiled: /],
      'validation data that is wrong': [
        () => train(x, y, { validationData: [[[1, 2, 3]], [0]] }),
        /^shape-mismatch: validationData: x: the model's input has 4 numbers an example, validationData: x has 3$/,
      ],
      'validation data that is NaN': [
        () => train(x, y, { validationData: [[[1, 2, 3, NaN]], [0]] }),
        /^non-finite-input: validationData: x: row 0, column 3: .* got NaN$/,
      ],
      'a validation label': [
        () => train(x, y, { validationData: [[[1, 2, 3, 4]], [5]] }),
        /^label-out-of-range: validationData: y: row 0: .* got 5$/,
      ],
      'validation labels alone': [
        () => train(x, y, { validationData: [x] }),
        /^invalid-argument: fit: validationData: expected \[x, y\], got an array of 1$/,
      ],
      'empty validation data': [
        () => train(x, y, { validationData: [[], []] }),
        /^empty-data: validationData: x and validationData: y are empty$/,
      ],
    });

    test('bad rows are found before a weight changes, wherever they are', async () => {
      const model = compiled({ optimizer: sgd({ learningRate: 1 }) });
      const before = model.weights;
      const data = new Float32Array(400).fill(1);
      data[399] = NaN;
      await refusal(() => model.fit(tensor(data, [100, 4]), new Uint8Array(100), { batchSize: 1, validationSplit: 0.1 }));
      expect(model.weights).toEqual(before);
    });
  });

  describe('options of fit', () => {
    const fit = (options: unknown) => compiled().fit(x, y, any(options));
    refuses({
      null: [() => fit(null), /^invalid-argument: fit: expected an object of options, got null$/],
      'a number': [() => fit(5), /^invalid-argument: fit: expected an object of options, got 5$/],
      'a misspelt option': [() => fit({ epoch: 5 }), /^unknown-name: unknown option of fit 'epoch', did you mean 'epochs'\?$/],
      'an option of another library': [() => fit({ callbacks: {} }), /^unknown-name: unknown option of fit 'callbacks'/],
      'negative epochs': [() => fit({ epochs: -1 }), /^invalid-argument: fit: epochs: expected at least 0, got -1$/],
      'fractional epochs': [() => fit({ epochs: 1.5 }), /^invalid-argument: fit: epochs: expected a whole number, got 1.5$/],
      'endless epochs': [() => fit({ epochs: Infinity }), /^invalid-argument: fit: epochs: expected a whole number, got Infinity$/],
      'a batch of none': [() => fit({ batchSize: 0 }), /^invalid-argument: fit: batchSize: expected at least 1, got 0$/],
      'a fractional batch': [() => fit({ batchSize: 2.5 }), /^invalid-argument: fit: batchSize: expected a whole number, got 2.5$/],
      'a batch larger than the data': [
        () => fit({ batchSize: 6 }),
        /^invalid-argument: fit: batchSize: expected at most the 5 rows to train on, got 6$/,
      ],
      'a batch larger than what is left to train on': [
        () => fit({ batchSize: 5, validationSplit: 0.2 }),
        /^invalid-argument: fit: batchSize: expected at most the 4 rows to train on, got 5$/,
      ],
      'a batch that overflows': [() => fit({ batchSize: 2 ** 31 }), /^size-overflow: fit: batchSize: /],
      'a split of all rows': [
        () => fit({ validationSplit: 1 }),
        /^invalid-argument: fit: validationSplit: expected at least 0 and less than 1, got 1$/,
      ],
      'a negative split': [() => fit({ validationSplit: -0.1 }), /^invalid-argument: fit: validationSplit: /],
      'a split of one row': [
        () => compiled().fit([[1, 2, 3, 4]], [0], { validationSplit: 0.5 }),
        /^empty-data: fit: validationSplit: expected at least 2 rows to split, got 1$/,
      ],
      'two kinds of validation': [
        () => fit({ validationSplit: 0.2, validationData: [x, y] }),
        /^invalid-argument: fit: give validationData or validationSplit, not both$/,
      ],
      'verbose 2': [() => fit({ verbose: 2 }), /^invalid-argument: fit: verbose: expected 0 or 1, got 2$/],
      'half a signal': [
        () => fit({ signal: any({ aborted: false, addEventListener: () => undefined, removeEventListener: () => undefined }) }),
        /^invalid-argument: fit: signal: expected an AbortSignal, got an object$/,
      ],
      'a controller as signal': [
        () => fit({ signal: new AbortController() }),
        /^invalid-argument: fit: signal: expected an AbortSignal, got a value of type AbortController$/,
      ],
      'options that throw': [() => fit(throwing('epochs')), /^invalid-argument: fit: reading it failed: do not touch$/],
    });

    describe.each([
      ['epochs', wrong()],
      ['batchSize', wrong()],
      ['shuffle', wrong('true')],
      ['validationData', wrong()],
      ['validationSplit', wrong()],
      ['signal', wrong()],
      ['verbose', wrong()],
      ['onBatch', wrong('a function')],
      ['onEpoch', wrong('a function')],
      ['onProgress', wrong('a function')],
    ])('%s', (name, values) => {
      test.each(values)('%s', async (_, make) => {
        expect(await refusal(() => fit({ [name]: make() }))).toMatch(/^invalid-argument: fit: /);
      });
    });
  });

  describe('options of the others', () => {
    refuses({
      'a misspelt option of evaluate': [
        () => compiled().evaluate(x, y, any({ batchsize: 1 })),
        /^unknown-name: unknown option of evaluate 'batchsize', did you mean 'batchSize'\?$/,
      ],
      'an empty batch of evaluate': [
        () => compiled().evaluate(x, y, { batchSize: 0 }),
        /^invalid-argument: evaluate: batchSize: expected at least 1, got 0$/,
      ],
      'null for evaluate': [
        () => compiled().evaluate(x, y, any(null)),
        /^invalid-argument: evaluate: expected an object of options, got null$/,
      ],
      'a misspelt option of predictSync': [
        () => untrained().predictSync(x, any({ output: new Float32Array(10) })),
        /^unknown-name: unknown option of predictSync 'output'/,
      ],
      'null for predictSync': [
        () => untrained().predictSync(x, any(null)),
        /^invalid-argument: predictSync: expected an object of options, got null$/,
      ],
      'out alone': [
        () => untrained().predictSync(x, any(new Float32Array(10))),
        /^invalid-argument: predictSync: .* got a value of type Float32Array$/,
      ],
      'an out of doubles': [
        () => untrained().predictSync(x, { out: any(new Float64Array(10)) }),
        /^invalid-argument: predictSync: out: expected a Float32Array, got a value of type Float64Array$/,
      ],
      'an out that is too short': [
        () => untrained().predictSync(x, { out: new Float32Array(9) }),
        /^shape-mismatch: predictSync: out holds 9 numbers, the prediction 5 × 2$/,
      ],
      'an out that was transferred': [
        () => untrained().predictSync(x, { out: transferred(new Float32Array(10)) }),
        /^buffer-detached: predictSync: out: /,
      ],
      'an out within x': [
        () => {
          const data = new Float32Array(20);
          return untrained().predictSync(tensor(data, [5, 4]), { out: data.subarray(10) });
        },
        /^invalid-argument: predictSync: out must not share memory with x$/,
      ],
    });
    test.each(wrong())('%s as out', async (_, make) => {
      expect(await refusal(() => untrained().predictSync(x, { out: any(make()) }))).toMatch(
        /^invalid-argument: predictSync: out: expected a Float32Array/,
      );
    });
  });
});

describe('what works on models', () => {
  const data = [[1, 2]];
  const calls: [string, (model: unknown) => Promise<unknown>][] = [
    ['activationStats', (model) => activationStats(any(model), data)],
    ['deadUnits', (model) => deadUnits(any(model), data)],
    ['diagnose', (model) => diagnose(any(model), data, [1])],
    ['duplicateUnits', (model) => duplicateUnits(any(model))],
    ['gradcheck', (model) => gradcheck(any(model), data, [1])],
    ['gradientFlow', (model) => gradientFlow(any(model), data, [1])],
    ['initReport', (model) => initReport(any(model))],
    ['masksOf', (model) => masksOf(any(model))],
    ['preflight', (model) => preflight(any(model), data, [1], { epochs: 1 })],
    ['pruneByMagnitude', (model) => pruneByMagnitude(any(model), { share: 0.5 })],
    ['removableUnits', (model) => removableUnits(any(model), data)],
    ['removeUnits', (model) => removeUnits(any(model), {})],
    ['setMasks', (model) => setMasks(any(model), [])],
    ['signAgreement', (model) => signAgreement(any(model), data, [1])],
    ['sparsity', (model) => sparsity(any(model))],
  ];
  test.each(calls)('%s wants a model', async (_, call) => {
    expect(await refusal(() => call({}))).toBe('invalid-argument: expected a model, got an object');
    for (const [, value] of strange) expect(await refusal(() => call(value()))).toMatch(/^invalid-argument: expected a model, got /);
    expect(await refusal(() => call(undefined))).toBe('invalid-argument: expected a model, got undefined');
  });
});

describe('setWeights', () => {
  const set = (weights: unknown) => untrained().setWeights(any(weights));
  const kernel = { name: 'dense1/kernel', shape: [4, 3], data: new Float32Array(12) };
  refuses({
    nothing: [() => set(undefined), /^invalid-argument: setWeights: expected an array, got undefined$/],
    'no list': [() => set(kernel), /^invalid-argument: setWeights: expected an array, got an object$/],
    'data alone': [
      () => set([new Float32Array(12)]),
      /^invalid-argument: setWeights: expected an object of options, got a value of type Float32Array$/,
    ],
    'a misspelt name': [
      () => set([{ ...kernel, name: 'dense1/kernal' }]),
      /^unknown-name: unknown weight 'dense1\/kernal', did you mean 'dense1\/kernel'\?$/,
    ],
    'no name': [() => set([{ data: [1] }]), /^invalid-argument: setWeights: name: expected a name, got undefined$/],
    'a name twice': [() => set([kernel, kernel]), /^invalid-argument: setWeights: 'dense1\/kernel' was given twice$/],
    'another shape': [
      () => set([{ ...kernel, shape: [3, 4] }]),
      /^shape-mismatch: setWeights: 'dense1\/kernel': expected shape \[4, 3\], got \[3, 4\]$/,
    ],
    'a flat shape': [
      () => set([{ ...kernel, shape: [12] }]),
      /^shape-mismatch: setWeights: 'dense1\/kernel': expected shape \[4, 3\], got \[12\]$/,
    ],
    'too little data': [
      () => set([{ ...kernel, data: new Float32Array(11) }]),
      /^shape-mismatch: setWeights: 'dense1\/kernel': shape \[4, 3\] needs 12 numbers, got 11$/,
    ],
    'nested data': [
      () => set([{ name: 'dense1/bias', data: [[1], [2], [3]] }]),
      /^invalid-argument: setWeights: 'dense1\/bias': element 0: expected a number, got an array of 1$/,
    ],
    NaN: [() => set([{ name: 'dense1/bias', data: [1, NaN, 3] }]), /^non-finite-input: setWeights: 'dense1\/bias': element 1: .* got NaN$/],
    infinity: [
      () => set([{ name: 'dense1/bias', data: Float32Array.of(1, 2, Infinity) }]),
      /^non-finite-input: setWeights: 'dense1\/bias': element 2: .* got Infinity$/,
    ],
    'a number that float32 does not hold': [
      () => set([{ name: 'dense1/bias', data: [1, 2, 1e39] }]),
      /^non-finite-input: setWeights: 'dense1\/bias': element 2: .* got 1e\+39$/,
    ],
    text: [
      () => set([{ name: 'dense1/bias', data: ['1', '2', '3'] }]),
      /^invalid-argument: setWeights: 'dense1\/bias': element 0: expected a number, got '1'$/,
    ],
    bigints: [
      () => set([{ name: 'dense1/bias', data: new BigInt64Array(3) }]),
      /^invalid-argument: setWeights: 'dense1\/bias': expected an array of numbers, got a value of type BigInt64Array$/,
    ],
    'a misspelt field': [() => set([{ ...kernel, values: [] }]), /^unknown-name: unknown option of setWeights 'values'/],
    'data that throws': [
      () =>
        set([
          {
            name: 'dense1/bias',
            get data() {
              return fail();
            },
          },
        ]),
      /^invalid-argument: setWeights: reading it failed: do not touch$/,
    ],
  });
  test.each(strange)('%s', async (_, make) => {
    expect(await refusal(() => set(make()))).toMatch(/^invalid-argument: setWeights: /);
    expect(await refusal(() => set([make()]))).toMatch(/^invalid-argument: setWeights: /);
    expect(await refusal(() => set([{ name: 'dense1/bias', data: make() }]))).toMatch(/^invalid-argument: setWeights: /);
    expect(await refusal(() => set([{ ...kernel, shape: make() }]))).toMatch(/^invalid-argument: setWeights: /);
  });

  test('nothing is changed when one of them is refused', async () => {
    const model = untrained();
    const before = model.weights;
    await refusal(() => model.setWeights([kernel, { name: 'dense2/bias', data: [NaN, 0] }]));
    expect(model.weights).toEqual(before);
  });
});

describe('tensor', () => {
  refuses({
    'no data': [() => tensor(any(undefined), [1]), /^invalid-argument: tensor: /],
    'a shape that does not hold the data': [
      () => tensor([1, 2, 3], [2, 2]),
      /^shape-mismatch: tensor: shape \[2, 2\] holds 4 numbers, the data 3$/,
    ],
    'nested data': [() => tensor(any([[1], [2]]), [2]), /^invalid-argument: tensor: expected a flat array of numbers, got nested arrays$/],
    'a hole': [() => tensor(new Array(3), [3]), /^invalid-argument: tensor: row 0: expected a number, got undefined$/],
    'a later hole': [
      () => tensor(Object.assign(new Array(3), { 0: 1 }), [3]),
      /^invalid-argument: tensor: row 1, column 0: expected a number, got undefined$/,
    ],
    text: [() => tensor(any(['1']), [1]), /^invalid-argument: tensor: row 0: expected a number, got '1'$/],
    'no shape': [
      () => tensor([1], any(undefined)),
      /^invalid-argument: tensor: expected a shape such as \[rows, columns\], got undefined$/,
    ],
  });
  test.each(strange)('%s', async (_, make) => {
    expect(await refusal(() => tensor(any(make()), [1]))).toMatch(/^invalid-argument: tensor: /);
    expect(await refusal(() => tensor([1], any(make())))).toMatch(/^invalid-argument: tensor: /);
    expect(await refusal(() => tensor([1], any([make()])))).toMatch(/^invalid-argument: tensor: /);
  });
});

describe('gemm', () => {
  const call = (options: object) => gemm({ m: 2, n: 2, k: 2, a: new Float32Array(4), b: new Float32Array(4), ...options });
  refuses({
    'no options': [() => gemm(any(undefined)), /^invalid-argument: gemm: expected an object of options, got undefined$/],
    'a misspelt option': [
      () => call({ transposea: true }),
      /^unknown-name: unknown option of gemm 'transposea', did you mean 'transposeA'\?$/,
    ],
    'a negative size': [() => call({ m: -1 }), /^invalid-argument: gemm: m: expected at least 0, got -1$/],
    'a fractional size': [() => call({ k: 0.5 }), /^invalid-argument: gemm: k: expected a whole number, got 0.5$/],
    'a size that overflows': [() => call({ n: 2 ** 31 }), /^size-overflow: gemm: n: /],
    'an a that is too short': [() => call({ a: new Float32Array(3) }), /^shape-mismatch: gemm: a: \[2, 2\] needs 4 elements, got 3$/],
    'a b that is too short': [() => call({ n: 3 }), /^shape-mismatch: gemm: b: \[2, 3\] needs 6 elements, got 4$/],
    'a c that is too short': [() => call({ c: new Float32Array(3) }), /^shape-mismatch: gemm: c: \[2, 2\] needs 4 elements, got 3$/],
    'sizes whose product overflows': [() => call({ m: 2 ** 31 - 1, k: 2 ** 31 - 1 }), /^shape-mismatch: gemm: a: /],
    'a c that no machine holds': [
      () => call({ m: 2 ** 31 - 1, n: 2 ** 31 - 1, k: 0 }),
      /^out-of-memory: gemm: c: no memory for \d+ numbers$/,
    ],
    doubles: [
      () => call({ a: new Float64Array(4) }),
      /^invalid-argument: gemm: a: expected a Float32Array, got a value of type Float64Array$/,
    ],
    'an array': [() => call({ b: [1, 2, 3, 4] }), /^invalid-argument: gemm: b: expected a Float32Array, got an array of 4$/],
    'a transferred array': [() => call({ a: transferred(new Float32Array(4)) }), /^buffer-detached: gemm: a: /],
    'a stride below the columns': [() => call({ ldb: 1 }), /^shape-mismatch: gemm: ldb: expected at least the 2 columns of b, got 1$/],
    'a stride that overflows': [() => call({ m: 1, lda: 2 ** 40 }), /^size-overflow: gemm: lda: /],
    'a stride beyond the array': [() => call({ lda: 3 }), /^shape-mismatch: gemm: a: \[2, 2\] needs 5 elements, got 4$/],
    'an alpha that is NaN': [() => call({ alpha: NaN }), /^invalid-argument: gemm: alpha: expected a finite number, got NaN$/],
    'a beta that float32 does not hold': [() => call({ beta: 1e39 }), /^invalid-argument: gemm: beta: 1e\+39 is too large for a float32$/],
    'a c within a': [
      () => {
        const a = new Float32Array(8);
        return call({ a: a.subarray(0, 4), c: a.subarray(3, 7) });
      },
      /^invalid-argument: gemm: c must not share memory with a or b$/,
    ],
    'an instruction set that does not exist': [() => call({ isa: 'avx3' }), /^unknown-name: unknown instruction set 'avx3'/],
  });

  describe.each(['m', 'n', 'k', 'a', 'b', 'c', 'transposeA', 'transposeB', 'alpha', 'beta', 'lda', 'ldb', 'ldc', 'isa', 'strict'])(
    '%s',
    (name) => {
      const flags = ['transposeA', 'transposeB', 'strict'];
      test.each(wrong(...(flags.includes(name) ? ['true'] : [])))('%s', async (_, make) => {
        expect(await refusal(() => call({ [name]: make() }))).toMatch(/^(invalid-argument|unknown-name): /);
      });
    },
  );

  test('nothing is refused that means nothing', () => {
    expect(call({ m: 0, a: new Float32Array(0) })).toEqual(new Float32Array(0));
    expect(call({ k: 0, a: new Float32Array(0), b: new Float32Array(0) })).toEqual(new Float32Array(4));
  });
});

describe('an object that changes while it is read', () => {
  /** Gives each value once, the last one ever after. */
  const fickle = (...values: unknown[]) => ({ enumerable: true, get: () => (values.length > 1 ? values.shift() : values[0]) });

  test('options are read once', async () => {
    const options = Object.defineProperty({}, 'units', fickle(2, 2 ** 30));
    expect(sequential({ inputShape: [4], layers: [dense(any(options))] }).weights[0].shape).toEqual([4, 2]);
    const batch = Object.defineProperty({}, 'batchSize', fickle(5, 2 ** 30));
    expect((await compiled().fit(x, y, any(batch))).epochs).toHaveLength(1);
  });

  test('shapes are read once', async () => {
    const shape = Object.defineProperty([0, 4], '0', fickle(5, 2 ** 20));
    expect((await untrained().predict({ data: new Float32Array(20), shape })).shape).toEqual([5, 2]);
    const data = Object.defineProperty({ shape: [5, 4] }, 'data', fickle(new Float32Array(20), new Float32Array(2)));
    expect((await untrained().predict(any(data))).shape).toEqual([5, 2]);
  });

  test('weights are read once', () => {
    const model = untrained();
    const data = Object.defineProperty([1, 2, 3], '1', fickle(2, NaN));
    model.setWeights([{ name: 'dense1/bias', data }]);
    expect([...model.weights[1].data]).toEqual([1, 2, 3]);
  });

  test('what was passed may be changed afterwards', () => {
    const inputShape = [4];
    const mean = [1, 2, 3, 4];
    const options = { inputShape, layers: [...layers], inputScaling: { mean, standardDeviation: 2 } };
    const model = sequential(options);
    const before = model.predictSync([[1, 2, 3, 4]]);
    inputShape[0] = 9;
    mean.fill(9);
    options.layers.pop();
    expect(model.summary()).toMatch(/^input \[4\]/);
    expect(model.predictSync([[1, 2, 3, 4]])).toEqual(before);
  });
});

describe('arrays of another realm', () => {
  const foreign = (code: string): unknown => runInContext(code, createContext({}));
  test('are arrays', async () => {
    const here = await compiled().predict(tensor(Float32Array.of(1, 2, 3, 4), [1, 4]));
    expect(await compiled().predict(any(foreign('({ data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] })')))).toEqual(here);
    expect(await compiled().predict(any(foreign('[[1, 2, 3, 4]]')))).toEqual(here);
    expect(
      await compiled().fit(any(foreign('[[1, 2, 3, 4]]')), any(foreign('Uint8Array.of(1)')), any(foreign('({ epochs: 2 })'))),
    ).toHaveProperty('epochs.length', 2);
  });
});
