// What diagnostics return. Words: z is what enters a layer's activation a, y = a(z) its output; 𝓛' = ∂loss/∂y is the loss
// gradient at an output, δ = 𝓛' ⊙ a'(z) the one at z. RMS is the root of the mean square over all elements of a batch. A layer
// without an activation, or with softmax, has δ = 𝓛' and the activation factor 1.

/** Of all elements of a tensor. Variances are means over all elements (divided by their number, not one less). */
export interface Distribution {
  readonly mean: number;
  readonly standardDeviation: number;
  readonly rms: number;
  readonly min: number;
  readonly max: number;
  /** Share of elements that are exactly 0. */
  readonly zeros: number;
  /** 32 bins of equal width from the smallest element to the largest, which the last one includes. */
  readonly histogram: { readonly low: number; readonly high: number; readonly counts: number[] };
}

export interface LayerActivations {
  readonly layer: string;
  /** Of z; absent where the layer has no activation of its own. */
  readonly before?: Distribution;
  /** Of y. */
  readonly after: Distribution;
  /** Share of elements with |a'(z)| < 0.01; 0 without an elementwise activation. */
  readonly saturation: number;
  /** |mean| / standardDeviation of y; Infinity where y is constant and not 0, and 0 where it is 0. */
  readonly meanShift: number;
}

/** A factor by which the loss gradient's RMS changes on its way back, and what forward values and weights alone say it will be. */
export interface Factor {
  readonly measured: number;
  readonly predicted: number;
}

export interface LayerFlow {
  readonly layer: string;
  /** RMS and Euclidean norm of 𝓛' at the layer's output. */
  readonly lossGradientRms: number;
  readonly lossGradientNorm: number;
  /** RMS(δ) / RMS(𝓛'), predicted as √E[a'²]. */
  readonly activationFactor: Factor;
  /** RMS(𝓛' at the layer's input) / RMS(δ), predicted as σ_W·√units, σ_W the kernel's RMS. Both 1 for a layer without kernel. */
  readonly weightFactor: Factor;
  /** RMS of the kernel's gradient and of the kernel, and their ratio; 0 for a layer without kernel. */
  readonly kernelGradientRms: number;
  readonly kernelRms: number;
  readonly gradientToWeight: number;
  /** RMS(ΔW) / RMS(W), W before the update; where a step was done. */
  readonly updateToWeight?: number;
  /** Estimate, from below, of the kernel's largest singular value; 0 for a layer without kernel. */
  readonly spectralNorm: number;
}

export interface GradientFlow {
  readonly loss: number;
  /** RMS of the loss gradient at the input, after input scaling. */
  readonly inputGradientRms: number;
  readonly layers: LayerFlow[];
  /**
   * Geometric factor a layer on the way back from the loss, by least squares on log RMS of 𝓛' at the input and each layer's
   * output; NaN where fewer than two are above 0.
   */
  readonly decayPerLayer: number;
  /** RMS of 𝓛' at the input over that at the last layer's output. */
  readonly firstOverLast: number;
}

/** What the watched step of a fit measured: the batch before its update, and the update. */
export interface DiagnosticsSample {
  readonly epoch: number;
  /** From 1 in this fit. */
  readonly step: number;
  readonly loss: number;
  readonly layers: (LayerFlow & Pick<LayerActivations, 'before' | 'after' | 'saturation' | 'meanShift'>)[];
}

/** How far each unit's incoming weights went, step by step, and how far they came. */
export interface UnitPaths {
  readonly layer: string;
  /** Σ over the steps of ‖w after − w before‖, w the unit's column of the kernel. */
  readonly length: number[];
  /** ‖w after the last step − w before the first‖ */
  readonly displacement: number[];
  /** length / displacement: 1 on a straight line, large where weights zig-zag; 0 where they stood still. */
  readonly lengthOverDisplacement: number[];
}
