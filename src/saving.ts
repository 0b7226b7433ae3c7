// Model files: safetensors with the architecture as JSON in the metadata. What is read is untrusted: every layer and weight
// goes through the same checks as a user's.
import { adagrad, adam, adamW, type Optimizer, rmsprop, sgd } from './optimizers.js';
import { GradmillError } from './errors.js';
import { activation } from './layers/activation.js';
import { dense, type DenseOptions } from './layers/dense.js';
import type { Layer } from './layers/layer.js';
import { type CompileOptions, Sequential, type SequentialOptions, type Weight } from './model.js';
import { checkOptions, oneOf } from './options.js';
import { encodeSafetensors, readSafetensors, writeFileAtomic } from './safetensors.js';
import { VERSION } from './version.js';

const FORMAT = 'gradmill-model-1';
/** Metadata keys that are ours; all others are the user's. */
const OWN_KEYS = ['format', 'gradmill', 'model'];

type LayerConfig = { readonly kind: string; readonly name: string } & Readonly<Record<string, unknown>>;

export interface ModelConfig extends Omit<SequentialOptions, 'layers' | 'inputScaling'> {
  readonly inputScaling?: SequentialOptions['inputScaling'] | undefined;
  readonly layers: readonly LayerConfig[];
  readonly training?: { readonly optimizer: Optimizer['config']; readonly loss: CompileOptions['loss']; readonly metrics: readonly 'accuracy'[] } | undefined;
}

/** @throws GradmillError 'file-io', 'invalid-argument' for metadata keys that are ours */
export async function saveModel(path: string, config: ModelConfig, weights: readonly Weight[], metadata: Readonly<Record<string, string>>): Promise<void> {
  for (const key of OWN_KEYS) if (Object.hasOwn(metadata, key)) throw new GradmillError('invalid-argument', `save: the metadata key '${key}' is gradmill's own`);
  const tensors = weights.map(({ name, shape, data }) => ({ name, shape, dtype: 'F32' as const, data }));
  await writeFileAtomic(path, encodeSafetensors(tensors, { ...metadata, format: FORMAT, gradmill: VERSION, model: JSON.stringify(config) }));
}

const OPTIMIZERS = { sgd, rmsprop, adagrad, adam, adamW };
const LAYERS = ['dense', 'activation'] as const;

/**
 * A model from a file that `save` wrote, with its weights; compiled as it was, if it was.
 * @throws GradmillError 'file-io' when it cannot be read, 'file-invalid' when it is no such file
 */
export async function loadModel(path: string): Promise<Sequential> {
  const { metadata, tensors } = await readSafetensors(path);
  if (metadata.format !== FORMAT || metadata.model === undefined) throw new GradmillError('file-invalid', `${path}: not a gradmill model`);
  try {
    const config = JSON.parse(metadata.model) as ModelConfig;
    checkOptions('model', config, ['inputShape', 'seed', 'inputScaling', 'layers', 'training']);
    const { training, layers, inputScaling, ...rest } = config;
    const known = Object.fromEntries(Object.entries(metadata).filter(([key]) => !OWN_KEYS.includes(key)));
    const built = Array.isArray(layers) ? (layers as readonly LayerConfig[]).map(layerOf) : [];
    checkWeights(built, rest.inputShape, tensors.reduce((all, { data }) => all + data.length, 0));
    const model = new Sequential({ ...rest, ...(inputScaling && { inputScaling }), layers: built }, known);
    const missing = model.weights.find(({ name }) => !tensors.some(tensor => tensor.name === name));
    if (missing) throw new GradmillError('file-invalid', `weight '${missing.name}' is missing`);
    model.setWeights(tensors);
    if (training) {
      const { name, ...options } = training.optimizer;
      const optimizer = OPTIMIZERS[oneOf('optimizer', name, Object.keys(OPTIMIZERS) as (keyof typeof OPTIMIZERS)[])](options);
      model.compile({ optimizer, loss: training.loss, metrics: training.metrics });
    }
    return model;
  } catch (cause) {
    if (cause instanceof GradmillError && ['out-of-memory', 'backend-unavailable'].includes(cause.code)) throw cause;
    throw new GradmillError('file-invalid', `${path}: ${(cause as Error).message}`, { cause });
  }
}

function layerOf(config: LayerConfig): Layer {
  const { kind, name, ...options } = config;
  const layer = oneOf('layer', kind, LAYERS) === 'dense' ? dense(options as unknown as DenseOptions) : activation(options.activation as Parameters<typeof activation>[0]);
  return { ...layer, name };
}

/** A hostile architecture must not allocate more than the file's own weights. */
function checkWeights(layers: readonly Layer[], inputShape: readonly number[], stored: number): void {
  let units = (Array.isArray(inputShape) ? (inputShape as readonly unknown[]) : []).reduce<number>((all, size) => all * Number(size), 1);
  let wanted = 0;
  for (const { kind, config } of layers) {
    if (kind !== 'dense') continue;
    const { units: next, useBias } = config as { units: number; useBias: boolean };
    wanted += units * next + (useBias ? next : 0);
    units = next;
  }
  if (wanted !== stored) throw new GradmillError('file-invalid', `the architecture has ${String(wanted)} weights, the file ${String(stored)}`);
}
