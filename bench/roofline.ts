// Kernels under the machine's ceilings: a chart for each instruction set, number of threads and level of memory.
import type { RooflineChart } from '../src/report/section.js';
import { type KernelMeasurement, type KernelsReport, LEVELS } from './kernels.js';
import { show, sizeOf } from './report.js';

/** Charts of what `bench kernels` measured; of a level that holds no op's operands there is none. */
export function rooflineCharts({ limits, results }: KernelsReport): RooflineChart[] {
  return limits.flatMap(({ isa, strict, threads, flops, bandwidth }) =>
    LEVELS.flatMap((level): RooflineChart[] => {
      const rows = results.filter((row) => row.isa === isa && row.threads === threads && row.level === level);
      if (rows.length === 0) return [];
      const where = `${strict ? `${isa} strict` : isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
      return [
        {
          type: 'roofline',
          title: `Ops whose operands lie in ${level}: ${where}`,
          x: { label: 'float operations a byte', scale: 'log' },
          y: { label: 'GFLOP/s', scale: 'log' },
          peak: { name: `peak, ${show(flops / 1e9)} GFLOP/s`, value: flops / 1e9 },
          bandwidths: bandwidth.map(({ bytes, perSecond }, i) => ({
            name: `${LEVELS[i] ?? ''} (${sizeOf(bytes)}), ${show(perSecond / 1e9)} GB/s`,
            value: perSecond / 1e9,
          })),
          points: rows.map((row) => ({ name: nameOf(row), x: row.intensity, y: row.achieved / 1e9 })),
          caption: `Sloping lines are what reading allows, the level one what multiply-adds in registers reach. Medians; ops without float operations are in the table alone.`, // prettier-ignore
        },
      ];
    }),
  );
}

/** 'gemm NN 16×64×64', 'activate tanh', 'adam' */
function nameOf({ op, variant, size }: KernelMeasurement): string {
  const words = [op, variant, op === 'gemm' ? size : ''];
  return words.filter((word) => word !== '').join(' ');
}
