// What gradmill answers as one of those that are measured, in Node (gradmill.ts) and in a page (chromium.mjs).
import { type Subject, modelOf, prepare } from '../subject.js';
import { type Workload, examples, generator } from '../workloads.js';

export type Request =
  | { readonly do: 'prepare'; readonly workload: Workload }
  | { readonly do: 'check'; readonly threads: number }
  | { readonly do: 'slice'; readonly threads: number; readonly seconds: number }
  | { readonly do: 'examples'; readonly workload: Workload & { readonly rows: number } }
  | { readonly do: 'train'; readonly threads: number };

/** The workload on each number of threads, made when first asked for. */
let subjectOf: (threads: number) => Subject;
let dispose: (() => void) | undefined;

/** Weights and examples come from the same seeds everywhere: the check would find a difference. */
function start(workload: Workload): true {
  dispose?.();
  const data = examples(workload);
  const subjects = new Map<number, Subject>();
  subjectOf = (threads) => {
    const subject = subjects.get(threads) ?? prepare(workload, data, threads);
    subjects.set(threads, subject);
    return subject;
  };
  dispose = () => subjects.forEach((subject) => subject.dispose());
  return true;
}

let train: (threads: number) => Promise<true>;

/** Made without garbage, for who counts bytes. */
function makeExamples({ rows, ...workload }: Workload & { readonly rows: number }): true {
  const [columns] = workload.units;
  const classes = workload.units.at(-1) ?? 1;
  const random = generator(1);
  const x = new Float32Array(rows * columns);
  for (let i = 0; i < x.length; i++) x[i] = 2 * random() - 1;
  const y = new Float32Array(rows);
  for (let i = 0; i < rows; i++) y[i] = i % classes;
  const targets = workload.loss === 'meanSquaredError' ? { data: y, shape: [rows, 1] } : y;
  train = async (threads) => {
    const model = modelOf(workload, threads);
    await model.fit({ data: x, shape: [rows, columns] }, targets, { batchSize: workload.batch, epochs: 1 });
    return true;
  };
  return true;
}

export function reply(request: Request): true | Promise<unknown> {
  if (request.do === 'prepare') return start(request.workload);
  if (request.do === 'examples') return makeExamples(request.workload);
  if (request.do === 'train') return train(request.threads);
  const subject = subjectOf(request.threads);
  return request.do === 'check' ? subject.check() : subject.slice(request.seconds);
}
