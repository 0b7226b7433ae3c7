// The instruction set as TypeScript sees it: read from the engine (native/ops.h is the only list), used by plans to encode,
// check and print instructions, and by the float64 interpreter.
import { GradmillError } from './errors.js';

export type OpName =
  | 'gemm'
  | 'addBias'
  | 'activate'
  | 'activationGradient'
  | 'softmax'
  | 'softmaxGradient'
  | 'sumRows'
  | 'columnStatistics'
  | 'batchNormalization'
  | 'batchNormalizationInference'
  | 'batchNormalizationGradient'
  | 'updateStatistics'
  | 'layerNormalization'
  | 'layerNormalizationGradient'
  | 'layerNormalizationScaleGradient'
  | 'dropout'
  | 'dropoutGradient'
  | 'meanSquaredError'
  | 'meanAbsoluteError'
  | 'huber'
  | 'binaryCrossEntropy'
  | 'softmaxCrossEntropy'
  | 'categoricalCrossEntropy'
  | 'lossTotal'
  | 'accuracy'
  | 'resetTotals'
  | 'gather'
  | 'gatherLabels'
  | 'scatter'
  | 'shuffle'
  | 'clipValue'
  | 'globalNormScale'
  | 'sgd'
  | 'rmsprop'
  | 'adagrad'
  | 'adam'
  | 'advance'
  | 'applyMask'
  | 'addScaled'
  | 'softThreshold'
  | 'shrinkColumns'
  | 'fill'
  | 'randomUniform'
  | 'randomNormal'
  | 'randomTruncatedNormal'
  | 'orthogonalize'
  | 'statistics'
  | 'histogram'
  | 'columnDistances'
  | 'spectralNorm'
  | 'multiplyAdd'
  | 'sumWords';

/** One op as the engine describes it: the strings of native/ops.h. */
export interface OpText {
  readonly name: string;
  readonly dims: string;
  readonly immediates: string;
  readonly operands: string;
}

export type ElementType = 'f32' | 'f64' | 'i32' | 'u32';

export interface OperandSignature {
  readonly name: string;
  /** Number of elements, given the instruction's dims in order. */
  readonly extent: (dims: readonly number[]) => number;
  readonly type: ElementType;
  readonly written: boolean;
  readonly optional: boolean;
}

export interface OpSignature {
  readonly name: OpName;
  readonly code: number;
  readonly dims: readonly string[];
  readonly immediates: readonly { readonly name: string; readonly float: boolean }[];
  readonly operands: readonly OperandSignature[];
}

export type OpTable = ReadonlyMap<OpName, OpSignature>;

export function parseOps(texts: readonly OpText[]): OpTable {
  return new Map(texts.map((text, code) => [text.name as OpName, new LazySignature(text, code)]));
}

type Words = Pick<OpSignature, 'dims' | 'immediates' | 'operands'>;

/** Parsed when it is first asked for: a program has few of the ops, and loading the engine need not wait for all. */
class LazySignature implements OpSignature {
  readonly name: OpName;
  readonly #text: OpText;
  #parsed: Words | undefined;

  constructor(
    text: OpText,
    readonly code: number,
  ) {
    this.name = text.name as OpName;
    this.#text = text;
  }

  get dims(): Words['dims'] {
    return this.#words.dims;
  }

  get immediates(): Words['immediates'] {
    return this.#words.immediates;
  }

  get operands(): Words['operands'] {
    return this.#words.operands;
  }

  /** @throws GradmillError 'backend-unavailable' for text that this version cannot read */
  get #words(): Words {
    return (this.#parsed ??= parse(this.#text));
  }
}

function parse(text: OpText): Words {
  const words = (s: string) => s.split(' ').filter((word) => word !== '');
  const dims = words(text.dims);
  return {
    dims,
    immediates: words(text.immediates).map((word) => ({ name: word.replace(':f32', ''), float: word.endsWith(':f32') })),
    operands: words(text.operands).map((word) => parseOperand(word, dims)),
  };
}

function parseOperand(word: string, dims: readonly string[]): OperandSignature {
  const match = /^(\w+)\[([\w*]+)(?:\/(\d+))?\]([!?]*)(?::(\w\d\d))?([!?]*)$/.exec(word);
  if (match === null) throw new GradmillError('backend-unavailable', `unreadable operand '${word}' in the engine's op list`);
  const [, name = '', product = '', chunk, before = '', type = 'f32', after = ''] = match;
  const factors = product.split('*').map((factor) => {
    const dim = dims.indexOf(factor);
    return dim < 0 ? () => Number(factor) : (sizes: readonly number[]) => sizes[dim] ?? 0;
  });
  return {
    name,
    extent: (sizes) => {
      const elements = factors.reduce((all, factor) => all * factor(sizes), 1);
      return chunk === undefined ? elements : Math.ceil(elements / Number(chunk));
    },
    type: type as ElementType,
    written: (before + after).includes('!'),
    optional: (before + after).includes('?'),
  };
}
