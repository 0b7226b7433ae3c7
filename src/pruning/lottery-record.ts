// What a lottery keeps in its directory, so that it can go on after a crash: for each seed a JSON file of the rounds done, the
// trained tickets, and the weights to rewind to. A ticket is written before the round that it belongs to, so a round in the
// JSON has its ticket. What is read is untrusted.
import { GradmillError } from '../errors.js';
import type { Sequential } from '../model.js';
import { checkPath, reading, show } from '../options.js';
import { checkFiles, type Files } from '../platform.js';
import { loadModel } from '../saving.js';
import type { Weight } from '../weights.js';
import type { LotteryRound, LotterySettings } from './lottery.js';

const FORMAT = 'gradmill-lottery-1';

interface Stored {
  readonly format: string;
  readonly seed: number;
  readonly settings: LotterySettings;
  readonly rounds: readonly LotteryRound[];
}

export class LotteryRecord {
  readonly #files: Files | undefined;
  /** Without what tells its files apart. */
  readonly #path: string;
  readonly #seed: number;
  readonly #settings: LotterySettings;
  #rounds: readonly LotteryRound[] = [];

  private constructor(files: Files | undefined, path: string, seed: number, settings: LotterySettings) {
    this.#files = files;
    this.#path = path;
    this.#seed = seed;
    this.#settings = settings;
  }

  /** @throws GradmillError 'file-io', 'file-invalid', 'invalid-argument' for rounds of other settings */
  static async open(directory: string | undefined, seed: number, settings: LotterySettings): Promise<LotteryRecord> {
    if (directory === undefined) return new LotteryRecord(undefined, '', seed, settings);
    const files = checkFiles('lotteryTicket', 'leave directory out');
    const folder = checkPath('lotteryTicket: directory', directory);
    await files.makeFolder(folder);
    const record = new LotteryRecord(files, `${folder}/seed-${seed}`, seed, settings);
    const path = `${record.#path}.json`;
    if (await files.exists(path)) record.#rounds = roundsIn(await files.read(path), path, seed, settings);
    return record;
  }

  find(round: number, arm: LotteryRound['arm']): LotteryRound | undefined {
    return this.#rounds.find((done) => done.round === round && done.arm === arm);
  }

  /** @param ticket its trained model, where it is one */
  async add(round: LotteryRound, ticket: Sequential | undefined): Promise<void> {
    this.#rounds = [...this.#rounds, round];
    if (!this.#files) return;
    if (ticket) await ticket.save(this.#ticketPath(round.round));
    const stored: Stored = { format: FORMAT, seed: this.#seed, settings: this.#settings, rounds: this.#rounds };
    await this.#files.write(`${this.#path}.json`, [new TextEncoder().encode(`${JSON.stringify(stored, undefined, 2)}\n`)]);
  }

  /** The trained model of a round that is done. */
  ticket(round: number): Promise<Sequential> {
    return loadModel(this.#ticketPath(round));
  }

  /** Keeps the weights to rewind to. */
  async saveStart(model: Sequential): Promise<void> {
    if (this.#files) await model.save(this.#startPath);
  }

  async start(): Promise<Weight[]> {
    const model = await loadModel(this.#startPath);
    const { weights } = model;
    model.dispose();
    return weights;
  }

  #ticketPath(round: number): string {
    return `${this.#path}-round-${round}.safetensors`;
  }

  get #startPath(): string {
    return `${this.#path}-start.safetensors`;
  }
}

/** The rounds of a record, checked. */
function roundsIn(bytes: Uint8Array, path: string, seed: number, settings: LotterySettings): LotteryRound[] {
  const invalid = (problem: string, cause?: unknown): GradmillError =>
    new GradmillError('file-invalid', `'${path}': ${problem}`, { cause });
  let stored: Partial<Stored>;
  try {
    stored = Object(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))) as Partial<Stored>;
  } catch (error) {
    throw invalid('not JSON', error);
  }
  if (stored.format !== FORMAT || stored.seed !== seed || !Array.isArray(stored.rounds)) throw invalid('not the record of a lottery');
  const theirs = Object(stored.settings) as Record<string, unknown>;
  for (const [name, value] of Object.entries(settings))
    if (theirs[name] !== value)
      throw new GradmillError(
        'invalid-argument',
        `lotteryTicket: '${path}' holds rounds with ${name} ${show(theirs[name])}, not ${show(value)}: choose another directory`,
      );
  // In the order they are done in.
  return stored.rounds.map((round: unknown, i) => {
    const [number, arm] = settings.control ? [Math.ceil(i / 2), i > 0 && i % 2 === 0 ? 'control' : 'ticket'] : [i, 'ticket'];
    const valid = reading(path, () => isRound(round, settings) && round.seed === seed && round.round === number && round.arm === arm);
    if (!valid) throw invalid(`entry ${i} is not round ${number} of the ${arm}`);
    return round as LotteryRound;
  });
}

function isRound(given: unknown, { epochs }: LotterySettings): given is LotteryRound {
  const round = Object(given) as Record<string, unknown>;
  const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
  const isCurve = (value: unknown): boolean => Array.isArray(value) && value.length === epochs && value.every(isNumber);
  const measured = 'valAccuracy' in round;
  return (
    [round.weights, round.weightsLeft, round.loss, round.bestEpoch, round.bestLoss].every(isNumber) &&
    isCurve(round.valLoss) &&
    (!measured || (isCurve(round.valAccuracy) && isNumber(round.accuracy) && isNumber(round.bestAccuracy)))
  );
}
