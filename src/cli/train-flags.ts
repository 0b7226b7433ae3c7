// The flags of `gradmill train` and what they mean for any data. train.ts parses them; train-mnist.ts and train-table.ts read them.

import { ACTIVATION_NAMES } from '../activations.js';
import { decimal, integer, layerSizes, names, oneOf, text, toggle, type FlagValues } from './flags.js';

const maxCount = 2 ** 31 - 1;

export const commonFlags = {
  epochs: integer('COUNT', 'passes over the training data (MNIST 5; CSV 100, fewer for large files)', 1, maxCount),
  'batch-size': integer('ROWS', 'rows of one step (MNIST 128, CSV 32)', 1, maxCount),
  hidden: layerSizes('UNITS,UNITS,…', "sizes of the hidden layers, or 'none' (MNIST 512,512; CSV 64,64)"),
  activation: oneOf(ACTIVATION_NAMES, 'NAME', 'activation of the hidden layers (relu)'),
  'learning-rate': decimal('NUMBER', 'of Adam (0.001)', { min: 0, open: true }),
  seed: integer('NUMBER', 'decides initial weights, shuffling and the split: 0 to 4294967295 (1)', 0, 2 ** 32 - 1),
  threads: integer('COUNT', 'threads to use (all cores this process may use)', 1, 1024),
  backend: oneOf(['auto', 'native', 'wasm'], 'auto|native|wasm', 'the engine to use (auto)'),
  strict: toggle('the same bits on every machine, somewhat slower'),
  log: text('FILE', 'add the run to this log, for gradmill report'),
  diagnostics: integer('STEPS', 'measure gradients, activations and updates every so many steps, for the log', 1, maxCount),
  doctor: toggle('look for what would keep the network from learning, then train; see gradmill doctor --help'),
  out: text('FILE', 'where to save the model (mnist.safetensors, or the name of the CSV file)'),
  help: toggle('show this help'),
};

export const tableFlags = {
  target: text('COLUMN', 'the column to predict (required)'),
  task: oneOf(['regression', 'classification'], 'regression|classification', 'instead of deciding by the target'),
  categorical: names('COLUMN,…', 'columns whose numbers are names, such as postal codes'),
  ignore: names('COLUMN,…', 'columns to leave out, such as row numbers'),
  raw: toggle('take numbers as they are, without standardising; see gradmill doctor'),
  'validation-split': decimal('FRACTION', 'part of the rows to hold back for validation (0.2)', { min: 0, max: 1 }),
};

export const trainFlags = { ...commonFlags, ...tableFlags };

export type TrainFlags = FlagValues<typeof trainFlags>;
