// Fusion: neighbouring instructions that one kernel can do in a single pass over memory. Each rule keeps the order of every
// element's operations, so a fused plan gives the same bits in strict mode; test/ checks each rule by that.
import { type Instruction, reads, type Tensor } from './plan.js';

/** Merges `second` into `first`, or leaves both. `dies(t)`: nobody but `second` reads t. */
type Rule = (first: Instruction, second: Instruction, dies: (tensor: Tensor) => boolean) => Instruction | undefined;

const rules: readonly Rule[] = [
  // gemm, addBias → gemm with bias
  (first, second, dies) => {
    const { c, bias } = first.operands;
    if (!isBare(first) || !is(second, 'addBias') || bias || second.operands.x !== c || !dies(c)) return undefined;
    return merge(first, second, { bias: second.operands.bias, c: second.operands.y });
  },
  // gemm, activate → gemm with activation; z is kept beside y only if the derivative reads it
  (first, second, dies) => {
    const { c } = first.operands;
    if (!isBare(first) || !is(second, 'activate') || second.operands.x !== c) return undefined;
    const outputs = dies(c) ? { c: second.operands.y } : { y: second.operands.y };
    return merge(first, second, outputs, second.immediates);
  },
  // gemm, activationGradient → gemm multiplied by the derivative (dX·Wᵀ ⊙ a')
  (first, second, dies) => {
    const { c, bias } = first.operands;
    if (!isBare(first) || !is(second, 'activationGradient') || bias || second.operands.dY !== c || !dies(c)) return undefined;
    return merge(first, second, { c: second.operands.dX, v: second.operands.v }, second.immediates);
  },
];

/** A product that nothing follows yet but a bias, and that does not add to what c held. */
function isBare(instruction: Instruction): boolean {
  const { operands, immediates } = instruction;
  return is(instruction, 'gemm') && !('y' in operands) && !('v' in operands) && !immediates.activation && !immediates.beta;
}

function is(instruction: Instruction, op: Instruction['op']['name']): boolean {
  return instruction.op.name === op;
}

function merge(
  first: Instruction,
  second: Instruction,
  operands: Readonly<Record<string, Tensor | undefined>>,
  immediates: Readonly<Record<string, number>> = {},
): Instruction {
  const given = Object.fromEntries(
    Object.entries({ ...first.operands, ...operands }).filter((entry): entry is [string, Tensor] => !!entry[1]),
  );
  return { ...first, operands: given, immediates: { ...first.immediates, ...immediates }, scope: second.scope };
}

/** Applies the rules to neighbours until none fits. `kept` buffers are read by the host. */
export function fuse(instructions: readonly Instruction[], kept: ReadonlySet<Tensor>): Instruction[] {
  const readers = new Map<Tensor, number>();
  for (const instruction of instructions) for (const tensor of reads(instruction)) readers.set(tensor, (readers.get(tensor) ?? 0) + 1);
  const dies = (tensor: Tensor) => tensor.storage === 'buffer' && readers.get(tensor) === 1 && !kept.has(tensor);
  const fused: Instruction[] = [];
  for (const second of instructions) {
    const first = fused.at(-1);
    const merged = first && rules.reduce<Instruction | undefined>((found, rule) => found ?? rule(first, second, dies), undefined);
    if (merged) fused[fused.length - 1] = merged;
    else fused.push(second);
  }
  return fused;
}
