// Scalers out of JSON, whichever they are.
import { oneOf, reading } from '../options.js';
import { type MinMaxJSON, MinMaxScaler } from './min-max.js';
import { type RobustJSON, RobustScaler } from './robust.js';
import { Standardizer, type StandardizerJSON } from './standardizer.js';

export type ScalerJSON = StandardizerJSON | MinMaxJSON | RobustJSON;

/** The scaler whose toJSON() this is. @throws GradmillError 'invalid-argument', 'unknown-name', 'shape-mismatch' */
export function scalerFromJSON(json: ScalerJSON): Standardizer | MinMaxScaler | RobustScaler {
  const given = reading('scaler', () => (json as Partial<ScalerJSON> | null)?.kind);
  const kind = oneOf('kind of scaler', given, ['standardizer', 'minMax', 'robust']);
  if (kind === 'standardizer') return Standardizer.fromJSON(json as StandardizerJSON);
  return kind === 'minMax' ? MinMaxScaler.fromJSON(json as MinMaxJSON) : RobustScaler.fromJSON(json as RobustJSON);
}
