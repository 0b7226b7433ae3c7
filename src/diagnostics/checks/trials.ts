// What trials show: steps that are too long or too short, and rows that cannot be learnt even by heart.
import { figure, THRESHOLDS } from '../findings.js';
import { type Check, learnt } from './examination.js';

export const learningRate: Check = ({ trials, targets, training }) => {
  if (!trials) return [];
  const { own, others } = trials;
  const rate = training.optimizer.hyper[0];
  const best = others.filter((other) => learnt(other, targets)).sort((a, b) => a.after - b.after);
  const lower = best.find(({ factor }) => factor < 1);
  const higher = best.find(({ factor }) => factor > 1);
  if (own.cutShort && !own.diverged) return [];
  const idle = !own.diverged && Math.abs(own.before - own.after) < THRESHOLDS.idle * own.before;
  const shared = { learningRate: rate, steps: own.steps, lossBefore: own.before, lossAfter: own.after };
  const told = own.diverged ? 'the loss stopped being a finite number' : `the loss went from ${figure(own.before)} to ${figure(own.after)}`;
  if (own.diverged || (lower && !idle))
    return [
      {
        code: 'learning-rate-too-high',
        severity: own.diverged ? 'error' : 'warning',
        evidence: { ...shared, ...(lower && { betterRate: rate * lower.factor, lossThen: lower.after }) },
        message: `learning rate ${figure(rate)} is too high: in ${own.diverged ? 'a trial' : `${own.steps} steps`} ${told}${lower ? `; with ${figure(rate * lower.factor)} to ${figure(lower.after)}` : ''}`,
        advice: lower
          ? `Use ${training.optimizer.name}({ learningRate: ${figure(rate * lower.factor)} }).`
          : 'Lower it by powers of ten; scale inputs and targets first.',
        theory: "A step longer than twice the inverse of the loss's curvature climbs the other side higher than it started.",
      },
    ];
  if (idle && higher)
    return [
      {
        code: 'learning-rate-too-low',
        severity: 'warning',
        evidence: { ...shared, betterRate: rate * higher.factor, lossThen: higher.after },
        message: `learning rate ${figure(rate)} is too low: in ${own.steps} steps ${told}; with ${figure(rate * higher.factor)} to ${figure(higher.after)}`,
        advice: `Use ${training.optimizer.name}({ learningRate: ${figure(rate * higher.factor)} }).`,
        theory:
          "The distance covered is the learning rate times the gradients' sum: a hundredth of the rate needs a hundred times the steps.",
      },
    ];
  return [];
};

export const memorisation: Check = ({ trials }) => {
  const tried = trials?.subset;
  if (!tried || tried.cutShort || tried.after < THRESHOLDS.memorised * tried.constantLoss) return [];
  return [
    {
      code: 'overfit-subset-failed',
      severity: 'error',
      evidence: {
        rows: tried.rows,
        steps: tried.steps,
        lossBefore: tried.before,
        lossAfter: tried.after,
        constantLoss: tried.constantLoss,
      },
      message: `the network cannot learn even ${tried.rows} rows by heart: after ${tried.steps} steps of Adam the loss on them is ${figure(tried.after)}, a constant prediction has ${figure(tried.constantLoss)}`,
      advice:
        'Look at the other findings first. Else the network is too narrow or too deep for its initialisation, or inputs and targets are not what they seem.',
      theory: 'A network with more weights than rows can fit any targets; where it does not, gradients do not reach its weights.',
    },
  ];
};
