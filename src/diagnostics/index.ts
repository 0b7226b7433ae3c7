// 'gradmill/diagnostics': why a network learns, or does not. Every figure is measured on the engine, by instructions of a plan.
export { diagnose, type DiagnoseOptions } from './diagnose.js';
export { type Finding, FINDING_CODES, type FindingCode, type Severity } from './findings.js';
export {
  gradcheck,
  type GradcheckFailure,
  type GradcheckLink,
  type GradcheckOptions,
  type GradcheckReport,
  type GradcheckTensor,
} from './gradcheck.js';
export { initReport, type InitLayerReport, type InitReport } from './initialization.js';
export { type InputColumnReport, inputReport, type InputReport, type InputReportOptions } from './inputs.js';
export { preflight, type PreflightCheck, type PreflightOptions, type PreflightReport } from './preflight.js';
export { type DeadUnits, deadUnits, type DuplicateUnits, duplicateUnits, type SignAgreement, signAgreement } from './units.js';
export { activationStats, type ActivationStatsOptions, gradientFlow } from './gradient-flow.js';
export type { DiagnosticsSample, Distribution, Factor, GradientFlow, LayerActivations, LayerFlow, UnitPaths } from './types.js';
