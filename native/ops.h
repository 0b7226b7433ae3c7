// The instruction set: the only list of ops, read by the engine (which bounds-checks every operand from it) and
// handed to TypeScript by name. An op has the same name here, in src/plan.ts, in a printed plan, in tests and in bench/.
//
//   OP(name, split, phases, dims, immediates, operands)
//     split       what threads divide: rows (m), columns (n), elements (m·n), tiles (blocks of c), none (one thread)
//     dims        up to three sizes; each may be the batch: then it holds the largest batch, and a run uses fewer rows
//     immediates  up to four words; `name:f32` are float bits, others unsigned integers
//     operands    up to eight tensors `name[extent]suffixes`, 64-byte aligned arena offsets; extent a product of dims and
//                 numbers, with `/4096` for the number of reduction chunks; `:i32 :u32 :f64` else f32; `!` written; `?` may be absent
#pragma once

// clang-format off
#define GRADMILL_OPS(OP)                                                                                                      \
  /* c = beta·c, then c += op(a)·op(b) over ascending k, then + bias, then: c = a(c), or y = a(c), or c = c ⊙ a'(v) */        \
  OP(gemm, tiles, 1, "m n k", "transpose beta:f32 activation parameter:f32", "a[m*k] b[k*n] c[m*n]! bias[n]? y[m*n]!? v[m*n]?") \
  /* y = x + bias, row by row */                                                                                              \
  OP(addBias, rows, 1, "m n", "", "x[m*n] bias[n] y[m*n]!")                                                                   \
  /* y = a(x) */                                                                                                              \
  OP(activate, elements, 1, "m n", "activation parameter:f32", "x[m*n] y[m*n]!")                                              \
  /* dX = dY ⊙ a'(v); v is the activation's output, or its input where the derivative needs that */                           \
  OP(activationGradient, elements, 1, "m n", "activation parameter:f32", "dY[m*n] v[m*n] dX[m*n]!")                           \
  /* y = exp(x − max x) / Σ exp(x − max x), row by row */                                                                     \
  OP(softmax, rows, 1, "m n", "", "x[m*n] y[m*n]!")                                                                           \
  /* dX = y ⊙ (dY − Σ dY⊙y), row by row */                                                                                    \
  OP(softmaxGradient, rows, 1, "m n", "", "dY[m*n] y[m*n] dX[m*n]!")                                                          \
  /* y[j] = Σ_i x[i,j], rows ascending */                                                                                     \
  OP(sumRows, columns, 1, "m n", "", "x[m*n] y[n]!")                                                                          \
  /* of each column's finite numbers: mean, variance (of all, two passes), least, greatest; how many are > 0, < 0, finite */  \
  OP(columnStatistics, columns, 1, "m n", "",                                                                                 \
     "x[m*n] mean[n]! variance[n]! low[n]! high[n]! positive[n]! negative[n]! finite[n]!")                                    \
  /* mean = Σ x/m + Σ (x − Σ x/m)/m, variance = Σ (x − mean)²/m, column by column, rows ascending; */                        \
  /* y = (x − mean)·(gamma/√(variance + epsilon)) + beta; gamma 1, beta 0 where absent */                                     \
  OP(batchNormalization, columns, 1, "m n", "epsilon:f32", "x[m*n] gamma[n]? beta[n]? y[m*n]! mean[n]! variance[n]!")         \
  /* the same y from a mean and a variance that are given */                                                                  \
  OP(batchNormalizationInference, columns, 1, "m n", "epsilon:f32", "x[m*n] mean[n] variance[n] gamma[n]? beta[n]? y[m*n]!")  \
  /* with r = 1/√(variance + epsilon) and x̂ = (x − mean)·r: dGamma = Σ dY⊙x̂, dBeta = Σ dY, rows ascending, and */             \
  /* dX = gamma·r·(dY − dBeta/m − x̂·(dGamma/m)) */                                                                            \
  OP(batchNormalizationGradient, columns, 1, "m n", "epsilon:f32",                                                            \
     "dY[m*n] x[m*n] mean[n] variance[n] gamma[n]? dX[m*n]! dGamma[n]!? dBeta[n]!?")                                          \
  /* moving = momentum·moving + (1 − momentum)·new, the new variance m/(m − 1) times the batch's; stops where not finite */   \
  OP(updateStatistics, columns, 1, "m n", "momentum:f32", "mean[n] variance[n] movingMean[n]! movingVariance[n]!")            \
  /* y = (x − mean)·r·gamma + beta, row by row, mean as above, r = 1/√(Σ (x − mean)²/n + epsilon); without `mean` it is 0 */  \
  OP(layerNormalization, rows, 1, "m n", "epsilon:f32", "x[m*n] gamma[n]? beta[n]? y[m*n]! inverse[m]! mean[m]!?")            \
  /* with inverse = r, x̂ = (x − mean)·r and g = dY⊙gamma: dX = r·(g − Σ g/n − x̂·(Σ g⊙x̂/n)); without mean there is no Σ g */   \
  OP(layerNormalizationGradient, rows, 1, "m n", "", "dY[m*n] x[m*n] inverse[m] mean[m]? gamma[n]? dX[m*n]!")                 \
  /* dGamma[j] = Σ_i (dY⊙x̂)[i,j], rows ascending */                                                                           \
  OP(layerNormalizationScaleGradient, columns, 1, "m n", "", "dY[m*n] x[m*n] inverse[m] mean[m]? dGamma[n]!")                 \
  /* mask = u < rate ? 0 : 1/(1 − rate), y = x⊙mask; u a Philox4x32-10 stream, counted by element, keyed by state's seed */   \
  /* and by hyper's step */                                                                                                   \
  OP(dropout, elements, 1, "m n", "stream rate:f32", "x[m*n] state[4]:u32 hyper[16]:f64 y[m*n]! mask[m*n]!")                  \
  /* dX = dY⊙mask */                                                                                                          \
  OP(dropoutGradient, elements, 1, "m n", "", "dY[m*n] mask[m*n] dX[m*n]!")                                                   \
  /* Losses: rowLoss[i] = Σ_j term(x, t); dX = seed · scale · ∂term/∂x where present; scale = 1 for sum; for mean 1/(m·n) */  \
  /* in elementwise losses and 1/m in the cross-entropies over classes. */                                                    \
  /* (x − t)² */                                                                                                              \
  OP(meanSquaredError, rows, 1, "m n", "reduction", "x[m*n] t[m*n] rowLoss[m]! seed[1] dX[m*n]!?")                            \
  /* |x − t| */                                                                                                               \
  OP(meanAbsoluteError, rows, 1, "m n", "reduction", "x[m*n] t[m*n] rowLoss[m]! seed[1] dX[m*n]!?")                           \
  /* ½(x−t)² where |x−t| ≤ delta, else delta·(|x−t| − ½delta) */                                                              \
  OP(huber, rows, 1, "m n", "reduction delta:f32", "x[m*n] t[m*n] rowLoss[m]! seed[1] dX[m*n]!?")                             \
  /* max(x,0) − x·t + log(1 + exp(−|x|)), x a logit */                                                                        \
  OP(binaryCrossEntropy, rows, 1, "m n", "reduction", "x[m*n] t[m*n] rowLoss[m]! seed[1] dX[m*n]!?")                          \
  /* −Σ q·log softmax(x), q the one-hot or given targets, smoothed to (1−s)·q + s/n; labels or t is given, not both */        \
  OP(softmaxCrossEntropy, rows, 1, "m n", "reduction labelSmoothing:f32",                                                     \
     "x[m*n] labels[m]:i32? t[m*n]? rowLoss[m]! seed[1] dX[m*n]!?")                                                           \
  /* −Σ q·log clip(x, 1e-7, 1 − 1e-7), x a probability */                                                                     \
  OP(categoricalCrossEntropy, rows, 1, "m n", "reduction", "x[m*n] labels[m]:i32? t[m*n]? rowLoss[m]! seed[1] dX[m*n]!?")     \
  /* loss = scale·Σ rowLoss; totals += [Σ rowLoss, m]; stops the run where the sum is not finite. n: terms a row */           \
  OP(lossTotal, none, 1, "m n", "reduction", "rowLoss[m] loss[1]! totals[8]:f64!")                                            \
  /* totals[2] += rows whose largest x is at the label or at t's largest; n = 1: (x > threshold) = (t > ½) */                 \
  OP(accuracy, none, 1, "m n", "threshold:f32", "x[m*n] labels[m]:i32? t[m*n]? totals[8]:f64!")                               \
  OP(resetTotals, none, 1, "", "", "totals[8]:f64!")                                                                          \
  /* y = rows of a data set in the run's order, converted to float: (x − mean)·scale where given; refuses what is not finite, */ \
  /* unless unchecked */                                                                                                      \
  OP(gather, rows, 1, "m n", "feed unchecked", "y[m*n]! mean[n]? scale[n]?")                                                            \
  /* labels in the run's order as integers; refuses what is no integer in [0, n) */                                           \
  OP(gatherLabels, none, 1, "m n", "feed", "labels[m]:i32!")                                                                  \
  /* rows of x into the output, in the data set's order */                                                                    \
  OP(scatter, rows, 1, "m n", "feed", "x[m*n]")                                                                               \
  /* order = a permutation of the data set's rows drawn from (seed, epoch); then epoch += 1. state: seed lo, hi, epoch, 0 */  \
  OP(shuffle, none, 1, "", "feed", "state[4]:u32!")                                                                           \
  /* g = min(max(g, −limit), limit), limit = hyper[8] */                                                                      \
  OP(clipValue, elements, 1, "m", "", "g[m]! hyper[16]:f64")                                                                  \
  /* scale = min(1, limit / (‖g‖ + 1e-6)), limit = hyper[9] */                                                                \
  OP(globalNormScale, elements, 2, "m", "", "g[m] partials[m/4096]! scale[1]! hyper[16]:f64")                                 \
  /* Optimizers, formulas as PyTorch's; g·clip where clip is given; hyper: see optimizers.h; they stop the run where p is not finite */ \
  OP(sgd, elements, 1, "m", "nesterov", "p[m]! g[m] moment1[m]!? hyper[16]:f64 clip[1]?")                                     \
  OP(rmsprop, elements, 1, "m", "", "p[m]! g[m] moment2[m]! hyper[16]:f64 clip[1]?")                                          \
  OP(adagrad, elements, 1, "m", "", "p[m]! g[m] moment2[m]! hyper[16]:f64 clip[1]?")                                          \
  OP(adam, elements, 1, "m", "decoupled", "p[m]! g[m] moment1[m]! moment2[m]! hyper[16]:f64 clip[1]?")                        \
  /* step += 1, beta1ᵗ and beta2ᵗ as running products */                                                                      \
  OP(advance, none, 1, "", "", "hyper[16]:f64!")                                                                              \
  /* x = 0 where mask is 0 */                                                                                                 \
  OP(applyMask, elements, 1, "m", "", "x[m]! mask[m]")                                                                        \
  /* y = y + scale·x */                                                                                                       \
  OP(addScaled, elements, 1, "m", "scale:f32", "y[m]! x[m]")                                                                  \
  /* x = x − min(max(x, −limit), limit), limit = hyper[0]·lambda */                                                           \
  OP(softThreshold, elements, 1, "m", "lambda:f32", "x[m]! hyper[16]:f64")                                                    \
  /* x[i,j] = x[i,j]·max(1 − hyper[0]·lambda / √Σ_i x[i,j]², 0) + 0, rows ascending */                                        \
  OP(shrinkColumns, columns, 1, "m n", "lambda:f32", "x[m*n]! hyper[16]:f64")                                                 \
  OP(fill, elements, 1, "m", "value:f32", "y[m]!")                                                                            \
  /* y = low + (high − low)·u; one Philox4x32-10 stream a tensor, counted by element, keyed by state's seed */                \
  OP(randomUniform, elements, 1, "m", "stream low:f32 high:f32", "y[m]! state[4]:u32")                                        \
  /* y = mean + standardDeviation·z, z by Box–Muller */                                                                       \
  OP(randomNormal, elements, 1, "m", "stream mean:f32 standardDeviation:f32", "y[m]! state[4]:u32")                           \
  /* the same with |z| ≤ 2, drawn again until it holds */                                                                     \
  OP(randomTruncatedNormal, elements, 1, "m", "stream mean:f32 standardDeviation:f32", "y[m]! state[4]:u32")                  \
  /* y = gain·Q: its columns (its rows where m < n) made orthonormal in order, each from those before it; sums over ascending  */ \
  /* rows (rows: by the reduction), in panels of 32, every panel twice */                                                     \
  OP(orthogonalize, none, 1, "m n", "gain:f32", "y[m*n]!")                                                                    \
  /* of x, or x − minus: mean, variance, mean square, min, max, share of zeros, share with |x| < threshold, elements; 0s of none */ \
  OP(statistics, none, 1, "m n", "threshold:f32", "x[m*n] minus[m*n]? statistics[8]:f64!")                                    \
  /* elements in each 32nd of [min, max], which statistics has; the last one includes max */                                  \
  OP(histogram, none, 1, "m n", "", "x[m*n] statistics[8]:f64 counts[32]:u32!")                                               \
  /* squares[j] = Σ_i (x[i,j] − from[i,j])², rows ascending, in double */                                                     \
  OP(columnDistances, columns, 1, "m n", "", "x[m*n] from[m*n] squares[n]:f64!")                                              \
  /* power iteration: v = xᵀx·v, times a power of two, so many times; next = v; square = (‖x·v‖/‖v‖)² of the v before the last */ \
  OP(spectralNorm, none, 1, "m n", "iterations", "x[m*n] v[n] square[1]:f64! next[n]! work[n]!")                              \
  /* Limits of the machine. y = y·factor + factor, so many times */                                                           \
  OP(multiplyAdd, elements, 1, "m", "times factor:f32", "y[m]!")                                                              \
  /* y[i] = times·Σ_j x[i,j] modulo 2³², x read as many times */                                                              \
  OP(sumWords, rows, 1, "m n", "times", "x[m*n]:u32 y[m]:u32!")
// clang-format on
