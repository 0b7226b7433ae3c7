// Structured pruning: whole units leave, and matrices become smaller. The work is done on what a model file holds: its JSON and
// its tensors, cut to the units that stay.
import type { NamedLayer } from '../architecture.js';
import { GradmillError, unknownName } from '../errors.js';
import { callOn, type Sequential } from '../model.js';
import { sgd } from '../optimizers.js';
import { checkOptions, list, reading, show, wholeNumber } from '../options.js';
import type { Training } from '../runtime.js';
import { decodeSafetensors, type SafetensorsTensor } from '../safetensors.js';
import { type ModelConfig, modelOf } from '../saving.js';
import type { FloatTensor, TensorInput } from '../tensor.js';

/** Units, from 0, by the name of their layer. */
export type UnitsByLayer = Readonly<Record<string, readonly number[]>>;

export interface RemoveOptions {
  /**
   * Rows of input. The mean over them of what a removed unit gave is added to the next layer's bias, times its outgoing weights
   * (mean replacement): for constant units the outputs stay as they were but for rounding. Default: nothing is added.
   */
  readonly fold?: TensorInput;
}

/** A dense layer and those behind it that work feature by feature: what they give goes to the next dense layer. */
interface Block {
  readonly dense: number;
  /** Behind its last layer. */
  readonly end: number;
}

/** A model taken apart. */
interface Parts {
  readonly config: ModelConfig;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly SafetensorsTensor[];
  readonly layers: readonly NamedLayer[];
  readonly training: Training | undefined;
}

async function partsOf(model: Sequential): Promise<Parts> {
  const { layers, training } = await callOn(model, ({ runtime }) =>
    Promise.resolve({ layers: runtime.layers, training: runtime.training }),
  );
  const { metadata, tensors } = decodeSafetensors(await model.serialize());
  return { config: JSON.parse(metadata.model) as ModelConfig, metadata, tensors, layers, training };
}

/** Of every hidden dense layer whose units can be removed: another dense layer, and no layer that mixes features, reads them. */
function blocksOf({ layers }: Parts): Block[] {
  return layers.flatMap(({ layer }, dense): Block[] => {
    const behind = layers.slice(dense + 1).findIndex((next) => next.layer.featurewise !== true);
    const end = dense + 1 + behind;
    if (layer.kind !== 'dense' || layer.config.activation === 'softmax') return [];
    return behind >= 0 && layers[end].layer.kind === 'dense' ? [{ dense, end }] : [];
  });
}

/**
 * The units whose removal changes no output for these rows, to the bit: those that give exactly 0 for every row, and those
 * whose outgoing weights are all 0. Of a layer that would lose all, the first stays. For removeUnits.
 * Rejects with GradmillError as predict does, and 'invalid-argument' or 'unknown-name' for layers that are not gradmill's.
 */
export async function removableUnits(model: Sequential, x: TensorInput): Promise<Record<string, number[]>> {
  const parts = await partsOf(model);
  const removable: Record<string, number[]> = {};
  await forEachBlock(parts, x, ({ dense, end }, { data, shape: [rows, units] }) => {
    const outgoing = tensorOf(parts, `${parts.layers[end].name}/kernel`);
    const next = outgoing.shape[1];
    const dead = Array.from({ length: units }, (_, unit) => unit).filter((unit) => {
      const silent = every(rows, (row) => data[row * units + unit] === 0);
      return silent || every(next, (column) => outgoing.data[unit * next + column] === 0);
    });
    if (dead.length === units) dead.shift();
    if (dead.length > 0) removable[parts.layers[dense].name] = dead;
  });
  return removable;
}

function every(count: number, holds: (i: number) => boolean): boolean {
  for (let i = 0; i < count; i++) if (!holds(i)) return false;
  return true;
}

/** What each block gives for x, one block after the other. */
async function forEachBlock(parts: Parts, x: TensorInput, visit: (block: Block, output: FloatTensor) => void): Promise<void> {
  let input = x;
  let at = 0;
  for (const block of blocksOf(parts)) {
    const output = await predictLayers(parts, at, block.end, input);
    visit(block, output);
    input = output;
    at = block.end;
  }
}

/** What layers [from, to) give, with the bits that the whole model's prediction has there. */
async function predictLayers(parts: Parts, from: number, to: number, x: TensorInput): Promise<FloatTensor> {
  const { config, metadata, tensors, layers, training } = parts;
  // What belongs to no layer belongs to the input.
  const owner = (tensor: SafetensorsTensor): number =>
    Math.max(
      layers.findIndex(({ name }) => tensor.name.startsWith(`${name}/`)),
      0,
    );
  const cut: ModelConfig = {
    ...config,
    inputShape: from === 0 ? config.inputShape : [layers[from - 1].built.units],
    layers: config.layers.slice(from, to),
    training: undefined,
    inputScaling: from === 0 ? config.inputScaling : undefined,
  };
  const model = await modelOf({
    metadata: { ...metadata, model: JSON.stringify(cut) },
    tensors: tensors.filter((tensor) => owner(tensor) >= from && owner(tensor) < to),
  });
  try {
    // Strict or fast as the whole model; the loss is of no matter.
    if (training) model.compile({ optimizer: sgd(), loss: 'meanSquaredError', strict: training.strict, threads: training.threads });
    return await model.predict(x);
  } finally {
    model.dispose();
  }
}

function tensorOf({ tensors }: Parts, name: string): SafetensorsTensor & { readonly dtype: 'F32' } {
  const found = tensors.find((tensor) => tensor.name === name);
  if (found?.dtype !== 'F32') throw new GradmillError('invalid-argument', `removeUnits: the model has no weight ${show(name)}`);
  return found;
}

/**
 * A new, smaller model without these units of hidden dense layers: their columns of the kernel and bias, the weights of
 * feature-wise layers behind them (activations, dropout, batch normalisation) and the rows of the next kernel are gone. It has
 * the model's seed, scaling, metadata, masks and settings of compile; its optimizer starts afresh. The model itself stays as it is.
 *
 * Where a unit gave 0, or its outgoing weights are 0 (removableUnits), every output keeps its bits, in strict and fast mode and
 * on every engine: a product adds its terms in index order in every shape, and a term of 0 changes no sum.
 *
 *     const small = await removeUnits(model, await removableUnits(model, x));
 *
 * Rejects with GradmillError 'unknown-name' for a layer or option that does not exist, 'invalid-argument' for units that the
 * layer does not have, a layer that would be empty, an output layer, a layer with softmax or one whose outputs meet a layer that
 * mixes features before the next dense layer (layer normalisation), and for `fold` where the next layer has no bias; 'busy',
 * 'disposed', 'out-of-memory', 'diverged' for weights that are not finite.
 */
export async function removeUnits(model: Sequential, units: UnitsByLayer, options: RemoveOptions = {}): Promise<Sequential> {
  const { fold } = checkOptions('removeUnits', options, ['fold']);
  const parts = await partsOf(model);
  const blocks = blocksOf(parts);
  const removed = checkUnits(parts, blocks, units);
  const folded = new Map<string, Float32Array>();
  if (fold !== undefined)
    await forEachBlock(parts, fold, ({ dense, end }, output) => {
      const gone = removed.get(dense) ?? [];
      if (gone.length > 0) folded.set(...foldedBias(parts, parts.layers[end].name, gone, output));
    });

  const tensors = parts.tensors.map((tensor) => {
    const data = folded.get(tensor.name);
    return data && tensor.dtype === 'F32' ? { ...tensor, data } : tensor;
  });
  const cut = { ...parts, tensors };
  const layers = [...parts.config.layers];
  const smaller = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  /** Shrinks one dimension of the weights of layers [from, to). */
  const keep = (from: number, to: number, dimension: 'first' | 'last', kept: readonly number[]): void => {
    for (const { name: layer } of cut.layers.slice(from, to))
      for (const [name, tensor] of smaller)
        if (name.startsWith(`${layer}/`) && (dimension === 'last' || tensor.shape.length > 1))
          smaller.set(name, cutTo(tensor, dimension, kept));
  };
  for (const { dense, end } of blocks) {
    const gone = new Set(removed.get(dense));
    if (gone.size === 0) continue;
    const all = layers[dense].units as number;
    const kept = Array.from({ length: all }, (_, unit) => unit).filter((unit) => !gone.has(unit));
    layers[dense] = { ...layers[dense], units: kept.length };
    keep(dense, end, 'last', kept);
    keep(end, end + 1, 'first', kept);
  }
  const { training } = parts;
  const config: ModelConfig = { ...parts.config, layers };
  const content = { metadata: { ...parts.metadata, model: JSON.stringify(config) }, tensors: [...smaller.values()] };
  const made = await modelOf(content);
  // What a file does not hold.
  if (training && config.training) {
    const { threads, strict, fuse, optimizer } = training;
    const { loss, metrics } = config.training;
    made.compile({ optimizer, loss, metrics, threads, strict, fuse });
  }
  return made;
}

/** By the dense layer's number, checked. */
function checkUnits({ layers, config }: Parts, blocks: readonly Block[], units: UnitsByLayer): Map<number, number[]> {
  const names = reading('removeUnits: units', () => Object.keys(units));
  const given = checkOptions('removeUnits: units', units, names);
  const checked = new Map<number, number[]>();
  for (const name of names) {
    const at = layers.findIndex((layer) => layer.name === name);
    if (at < 0) throw unknownName('layer', name, layers.map((layer) => layer.name)); // prettier-ignore
    const what = `removeUnits: layer '${name}'`;
    const all = config.layers[at].units as number;
    const gone = list(what, given[name]).map((unit) => wholeNumber(what, unit, 0, all - 1));
    if (gone.length === 0) continue;
    if (!blocks.some(({ dense }) => dense === at)) throw new GradmillError('invalid-argument', `${what}: ${whyNot(layers, at)}`);
    if (new Set(gone).size < gone.length) throw new GradmillError('invalid-argument', `${what}: a unit is named twice`);
    if (gone.length === all) throw new GradmillError('invalid-argument', `${what}: none of its ${all} units would be left`);
    checked.set(at, gone);
  }
  return checked;
}

/** Why a layer's units cannot be removed. */
function whyNot(layers: Parts['layers'], at: number): string {
  const { layer } = layers[at];
  if (layer.kind !== 'dense') return `units can be removed from dense layers, not from '${layer.kind}'`;
  if (layer.config.activation === 'softmax') return 'its softmax mixes its units: without some the others change';
  const next = layers.slice(at + 1).find((one) => one.layer.featurewise !== true);
  if (!next) return 'its units are outputs of the model';
  return `layer '${next.name}' (${next.layer.kind}) mixes its units: without some the others change`;
}

/** The next layer's bias with what the units gave on average, times their outgoing weights. */
function foldedBias(
  parts: Parts,
  next: string,
  gone: readonly number[],
  { data, shape: [rows, units] }: FloatTensor,
): [string, Float32Array] {
  const name = `${next}/bias`;
  if (!parts.tensors.some((tensor) => tensor.name === name))
    throw new GradmillError('invalid-argument', `removeUnits: fold: layer '${next}' has no bias to fold constants into`);
  const [kernel, bias] = [tensorOf(parts, `${next}/kernel`), tensorOf(parts, name)];
  const sums = Float64Array.from(bias.data);
  for (const unit of gone) {
    let mean = 0;
    for (let row = 0; row < rows; row++) mean += data[row * units + unit];
    if (rows > 0) mean /= rows;
    for (let j = 0; j < sums.length; j++) sums[j] += mean * kernel.data[unit * sums.length + j];
  }
  return [name, Float32Array.from(sums)];
}

/** The tensor's first or last dimension cut to these indices. */
function cutTo(tensor: SafetensorsTensor, dimension: 'first' | 'last', kept: readonly number[]): SafetensorsTensor {
  const { shape, data } = tensor;
  const columns = shape[shape.length - 1];
  const across = dimension === 'last';
  const rows = across ? data.length / columns : kept.length;
  const width = across ? kept.length : data.length / shape[0];
  const values = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < width; j++) values[i * width + j] = across ? data[i * columns + kept[j]] : data[kept[i] * width + j];
  const cut = across ? [...shape.slice(0, -1), kept.length] : [kept.length, ...shape.slice(1)];
  return tensor.dtype === 'U8' ? { ...tensor, shape: cut, data: Uint8Array.from(values) } : { ...tensor, shape: cut, data: values };
}
