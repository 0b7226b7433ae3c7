// Model files: safetensors with the architecture as JSON in the metadata. What is read is untrusted: every layer and weight
// goes through the same checks as a user's, and nothing is allocated that the file itself does not hold.
import { type Architecture, architecture } from './architecture.js';
import { engine } from './engine.js';
import { GradmillError } from './errors.js';
import { activation } from './layers/activation.js';
import { batchNormalization } from './layers/batch-normalization.js';
import { dense } from './layers/dense.js';
import { dropout } from './layers/dropout.js';
import type { Layer } from './layers/layer.js';
import { layerNormalization, rmsNormalization } from './layers/layer-normalization.js';
import { whiteningLayer } from './layers/whitening.js';
import { checkMasks, type Mask } from './masks.js';
import { callOn, type CompileOptions, Sequential, type SequentialOptions } from './model.js';
import { adagrad, adam, adamW, type Optimizer, rmsprop, sgd } from './optimizers.js';
import { checkOptions, checkPath, list, oneOf, reading, show } from './options.js';
import { checkFiles, type Files } from './platform.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsContent, type SafetensorsTensor } from './safetensors.js';
import type { InputScaling } from './scaling/input-scaling.js';
import { isDetached, zeroed } from './tensor.js';
import { VERSION } from './version.js';
import type { Weight } from './weights.js';

const FORMAT = 'gradmill-model-1';
/** A mask's name is its weight's with this behind it; its type is U8, one byte for each number. */
const MASK = '.mask';
/** Metadata keys that are ours; all others are the user's. */
const OWN_KEYS = ['format', 'gradmill', 'model'];

type LayerConfig = { readonly kind: string; readonly name: string } & Readonly<Record<string, unknown>>;

/** The JSON of a model file. */
export interface ModelConfig {
  readonly inputShape: readonly number[];
  readonly seed: number;
  readonly inputScaling: InputScaling | undefined;
  readonly layers: readonly LayerConfig[];
  readonly training:
    { readonly optimizer: Optimizer['config']; readonly loss: CompileOptions['loss']; readonly metrics: readonly 'accuracy'[] } | undefined;
}

/** A copy of a user's metadata. @throws GradmillError 'invalid-argument' for values that are no text and for keys that are ours */
export function checkMetadata(call: string, metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const keys = reading(`${call}: metadata`, () => Object.keys(metadata));
  const copy = checkOptions(`${call}: metadata`, metadata, keys);
  for (const key of keys) {
    if (OWN_KEYS.includes(key)) throw new GradmillError('invalid-argument', `${call}: metadata: the key '${key}' is gradmill's own`);
    if (typeof copy[key] !== 'string')
      throw new GradmillError('invalid-argument', `${call}: metadata: '${key}': expected text, got ${show(copy[key])}`);
  }
  return copy;
}

/** What a model file holds. */
export interface ModelContent {
  readonly config: ModelConfig;
  readonly weights: readonly Weight[];
  readonly masks: readonly Mask[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** @throws GradmillError 'file-io', 'diverged' for weights that loadModel would refuse */
export async function saveModel(files: Files, path: string, content: ModelContent): Promise<void> {
  await files.write(path, encodeModel(content, 'save', `; '${path}' was left as it is`));
}

/** The bytes of that file. @throws GradmillError 'diverged', 'out-of-memory' */
export function serializeModel(content: ModelContent): Uint8Array {
  const chunks = encodeModel(content, 'serialize');
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const bytes = zeroed('serialize', Uint8Array, length);
  let end = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, end);
    end += chunk.length;
  }
  return bytes;
}

function encodeModel({ config, weights, masks, metadata }: ModelContent, call: string, consequence = ''): Uint8Array[] {
  const bad = weights.find(({ data }) => data.some((value) => value - value !== 0));
  if (bad) throw new GradmillError('diverged', `${call}: weight '${bad.name}' holds a number that is not finite${consequence}`);
  const tensors: SafetensorsTensor[] = [
    ...weights.map(({ name, shape, data }) => ({ name, shape, dtype: 'F32' as const, data })),
    // Behind them: floats stay aligned.
    ...masks.map(({ name, shape, data }) => ({ name: `${name}${MASK}`, shape, dtype: 'U8' as const, data })),
  ];
  return encodeSafetensors(tensors, { ...metadata, format: FORMAT, gradmill: VERSION, model: JSON.stringify(config) });
}

const OPTIMIZERS = { sgd, rmsprop, adagrad, adam, adamW };

/**
 * A model that `save` wrote to a file, or `serialize` to bytes, with its weights; compiled with its optimizer, loss and metrics, if
 * it was: threads, strict and fuse are the defaults. The optimizer starts afresh. Bytes are read before the call returns.
 * Rejects with GradmillError 'file-io' when the file cannot be read or there are no files here, 'file-invalid' when it is damaged
 * or no such file, 'invalid-argument' for what is neither path nor bytes, 'buffer-detached', 'out-of-memory', 'backend-unavailable'.
 */
export async function loadModel(source: string | Uint8Array): Promise<Sequential> {
  const given = isBytes(source) ? bytesOf(source) : checkPath('loadModel', source, ' or a Uint8Array');
  // What is wrong with the environment is not the file's fault.
  engine();
  if (typeof given !== 'string') return decodeModel(given, 'model bytes');
  const files = checkFiles('loadModel', 'pass the bytes that serialize() gave');
  return decodeModel(await files.read(given), given);
}

/** Of any realm (vm, Jest). */
function isBytes(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && Object.prototype.toString.call(value) === '[object Uint8Array]';
}

/** Nobody writes to what is returned while it is read. */
function bytesOf(source: Uint8Array): Uint8Array {
  if (isDetached(source)) throw new GradmillError('buffer-detached', 'loadModel: the buffer of the bytes was transferred');
  const { buffer, byteOffset, byteLength } = source;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  return Object.prototype.toString.call(buffer) === '[object ArrayBuffer]' ? bytes : bytes.slice();
}

/** @param name of the file, for errors */
async function decodeModel(bytes: Uint8Array, name: string): Promise<Sequential> {
  const content = decodeSafetensors(bytes, name);
  try {
    return await modelOf(content);
  } catch (cause) {
    if (cause instanceof GradmillError && ['out-of-memory', 'backend-unavailable'].includes(cause.code)) throw cause;
    throw new GradmillError('file-invalid', `'${name}': ${cause instanceof Error ? cause.message : show(cause)}`, { cause });
  }
}

/**
 * The model that a file's content describes.
 * @throws GradmillError of any code that a user's layers, weights or options may give
 */
export async function modelOf({ metadata, tensors }: Readonly<SafetensorsContent>): Promise<Sequential> {
  if (metadata.format !== FORMAT || !('model' in metadata)) throw new GradmillError('file-invalid', 'not a gradmill model');
  const config = checkOptions('model', JSON.parse(metadata.model) as ModelConfig, [
    'inputShape',
    'seed',
    'inputScaling',
    'layers',
    'training',
  ]);
  const { inputShape, seed, inputScaling, training } = config;
  const layers = list('model: layers', config.layers).map((layer) => layerOf(layer as LayerConfig));
  checkTensors(architecture(inputShape, layers), tensors);
  const options: SequentialOptions = { inputShape, layers, seed, ...(inputScaling !== undefined && { inputScaling }) };
  const known = Object.fromEntries(Object.entries(metadata).filter(([key]) => !OWN_KEYS.includes(key)));
  const model = new Sequential(options, known);
  model.setWeights(tensors.filter(isWeight).map(({ name, shape, data }) => ({ name, shape, data })));
  await setMasks(
    model,
    tensors.filter((tensor) => !isWeight(tensor)),
  );
  if (training !== undefined) {
    const { optimizer, loss, metrics } = checkOptions('model: training', training, ['optimizer', 'loss', 'metrics']);
    model.compile({ optimizer: optimizerOf(optimizer), loss, metrics });
  }
  return model;
}

function isWeight({ dtype }: SafetensorsTensor): boolean {
  return dtype === 'F32';
}

/** A weight that is pruned must be 0: a file that contradicts itself is damaged. */
async function setMasks(model: Sequential, tensors: readonly SafetensorsTensor[]): Promise<void> {
  if (tensors.length === 0) return;
  await callOn(model, ({ runtime }) => {
    const given = tensors.map(({ name, shape, data }) => ({ name: name.slice(0, -MASK.length), shape, data }));
    const masks = checkMasks('masks', given, runtime.trainable);
    for (const [{ name, value }, mask] of masks) {
      const bad = runtime.floats(value).findIndex((weight, i) => mask[i] === 0 && weight !== 0);
      if (bad >= 0) throw new GradmillError('file-invalid', `weight ${show(name)}: element ${bad} is pruned, but not 0`);
    }
    runtime.setMasks(masks);
    return Promise.resolve();
  });
}

/** By kind, the function that makes the layer again from its config. */
const LAYERS = {
  activation: (options: { readonly activation: Parameters<typeof activation>[0] }) =>
    activation(checkOptions('activation', options, ['activation']).activation),
  batchNormalization,
  dense,
  dropout,
  layerNormalization,
  rmsNormalization,
  whitening: whiteningLayer,
};

function layerOf(config: LayerConfig): Layer {
  const keys = reading('model: layer', () => Object.keys(config));
  const { kind, name, ...options } = checkOptions('model: layer', config, keys);
  const layer = LAYERS[oneOf('layer', kind, Object.keys(LAYERS) as (keyof typeof LAYERS)[])] as (options: object) => Layer;
  return { ...layer(options), name };
}

function optimizerOf(config: Optimizer['config']): Optimizer {
  const keys = reading('model: optimizer', () => Object.keys(config));
  const { name, ...options } = checkOptions('model: optimizer', config, keys);
  return OPTIMIZERS[oneOf('optimizer', name, Object.keys(OPTIMIZERS) as (keyof typeof OPTIMIZERS)[])](options);
}

/** A model without weights may read so many numbers; any other has at least one weight for each. */
const WEIGHTLESS_COLUMNS = 2 ** 20;

/** The file must hold exactly the architecture's weights: then no architecture asks for more memory than its file. */
function checkTensors({ columns, layers }: Architecture, tensors: SafetensorsContent['tensors']): void {
  const wanted = new Map(layers.flatMap(({ parameters }) => parameters.map(({ name, shape }) => [name, `[${shape.join(', ')}]`])));
  for (const tensor of tensors) {
    const { name, shape } = tensor;
    if (!isWeight(tensor) && name.endsWith(MASK)) continue;
    const expected = isWeight(tensor) ? wanted.get(name) : undefined;
    const given = `${isWeight(tensor) ? '' : 'bytes of '}[${shape.join(', ')}]`;
    if (expected !== given)
      throw new GradmillError(
        'file-invalid',
        `weight ${show(name)}: expected ${expected ?? 'no such weight'}, the file has shape ${given}`,
      );
    wanted.delete(name);
  }
  for (const name of wanted.keys()) throw new GradmillError('file-invalid', `weight ${show(name)} is missing`);
  const weights = tensors.filter(isWeight).reduce((all, { data }) => all + data.length, 0);
  if (columns > Math.max(weights, WEIGHTLESS_COLUMNS))
    throw new GradmillError('file-invalid', `an input of ${columns} numbers for ${weights} weights`);
}
