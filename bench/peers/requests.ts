// What gradmill answers as one of those that are measured, in Node (gradmill.ts) and in a page (chromium.mjs).
import { type Subject, prepare } from '../subject.js';
import { type Workload, examples } from '../workloads.js';

export type Request =
  | { readonly do: 'prepare'; readonly workload: Workload }
  | { readonly do: 'check'; readonly threads: number }
  | { readonly do: 'slice'; readonly threads: number; readonly seconds: number };

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

export function reply(request: Request): true | Promise<unknown> {
  if (request.do === 'prepare') return start(request.workload);
  const subject = subjectOf(request.threads);
  return request.do === 'check' ? subject.check() : subject.slice(request.seconds);
}
