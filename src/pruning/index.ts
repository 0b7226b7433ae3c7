// 'gradmill/pruning': smaller networks that compute the same, or nearly.
export { lotteryTicket, type LotteryOptions, type LotteryRound } from './lottery.js';
export { pruneByMagnitude, type PruneOptions, pruningSchedule, type PruningScheduleOptions } from './magnitude.js';
export { type MaskInput, masksOf, setMasks, type Sparsity, sparsity, type WeightSparsity } from './masks.js';
export { removableUnits, type RemoveOptions, removeUnits, type UnitsByLayer } from './structured.js';
export type { Mask } from '../masks.js';
