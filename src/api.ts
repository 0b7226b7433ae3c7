// What both entries export: everything a user imports from gradmill.
export { type ActivationName, type ActivationOptions } from './activations.js';
export { type Backend, backend, initialize, type InitializeOptions } from './engine.js';
export { GradmillError, type GradmillErrorCode } from './errors.js';
export type { BatchReport, DiagnosticsOptions, EpochReport, FitOptions, History, ProgressReport } from './fit.js';
export { gain } from './gain.js';
export {
  constant,
  glorotNormal,
  glorotUniform,
  heNormal,
  heUniform,
  type Initializer,
  type InitializerInput,
  type InitializerName,
  lecunNormal,
  lecunUniform,
  normal,
  ones,
  orthogonal,
  type OrthogonalOptions,
  truncatedNormal,
  uniform,
  varianceScaling,
  zeros,
} from './initializers.js';
export { activation } from './layers/activation.js';
export { batchNormalization, type BatchNormalizationOptions } from './layers/batch-normalization.js';
export { dense, type DenseOptions } from './layers/dense.js';
export { dropout, type DropoutOptions } from './layers/dropout.js';
export type { Layer } from './layers/layer.js';
export type { LogDiagnostics, LogEnd, LogEpoch, LogError, LogRecord, LogStart, LogTarget } from './log.js';
export {
  layerNormalization,
  type LayerNormalizationOptions,
  rmsNormalization,
  type RmsNormalizationOptions,
} from './layers/layer-normalization.js';
export type { LossName, LossOptions } from './losses.js';
export type { Evaluation } from './jobs.js';
export { type CompileOptions, type Gradients, sequential, type Sequential, type SequentialOptions } from './model.js';
export { adagrad, adam, adamW, type Optimizer, rmsprop, sgd } from './optimizers.js';
export { groupLasso, l1, l2, type Regularizer, type RegularizerInput, type RegularizerName } from './regularizers.js';
export type { Limits } from './limits.js';
export type { Profile, ProfiledGroup, ProfiledInstruction, ProfiledWork, ProfileOptions } from './profile.js';
export { loadModel } from './saving.js';
export type { CompiledModule } from './platform.js';
export { lsuv, type LsuvLayer, type LsuvOptions } from './lsuv.js';
export type { InputScaling } from './scaling/input-scaling.js';
export { type MinMaxOptions, type MinMaxScaler, minMaxScaler } from './scaling/min-max.js';
export { type RobustOptions, type RobustScaler, robustScaler } from './scaling/robust.js';
export type { DoubleTensor, Scaler } from './scaling/scaler.js';
export { Standardizer } from './scaling/standardizer.js';
export { scalerFromJSON, type ScalerJSON } from './scaling/stored.js';
export { type Whitening, whitening, type WhiteningOptions } from './scaling/whitening.js';
export { type FloatTensor, type NumericArray, tensor, type TensorInput, type TensorLike } from './tensor.js';
export type { NamedTensor, Weight, WeightInput } from './weights.js';
