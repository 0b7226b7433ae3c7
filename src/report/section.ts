// What a report is made of: sections of text, figures and charts, as plain data. charts.ts draws the charts, html.ts the page;
// the experiments of examples/lab and `gradmill report` fill the sections.

/** One measured number (or word) and what the theory says it should be. */
export interface Figure {
  readonly label: string;
  readonly value: number | string;
  readonly unit?: string;
  /** As a reader should see it: '0.235 ± 10 %'. */
  readonly expected?: string;
  /** Whether the value is as expected; absent where nothing was. */
  readonly holds?: boolean;
}

export interface Axis {
  /** With its unit: 'time (s)'. */
  readonly label: string;
  /** Where ticks stand. Default: at round numbers. */
  readonly ticks?: readonly number[];
  /** On a log scale only values above 0 can be drawn; the chart says how many others there are. Default 'linear'. */
  readonly scale?: 'linear' | 'log';
}

/** A number that is NaN or infinite is drawn as missing: a gap in a line, no cell. */
export type Point = readonly [x: number, y: number];

interface ChartBase {
  readonly title: string;
  /** What to see in it, and what was done: seeds, epochs, spread. */
  readonly caption?: string;
}

export interface LinesChart extends ChartBase {
  readonly type: 'lines';
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly {
    readonly name: string;
    readonly points: readonly Point[];
    /** A band round the line, such as the spread over seeds: its lower and upper edge, at the same x as each other. */
    readonly low?: readonly Point[];
    readonly high?: readonly Point[];
  }[];
}

/** A colour for each row and column, such as gradients by layer and epoch. */
export interface StripChart extends ChartBase {
  readonly type: 'strip';
  readonly x: Axis;
  readonly y: Axis;
  readonly columns: readonly (number | string)[];
  /** The first is drawn at the top. */
  readonly rows: readonly string[];
  /** values[row][column]; null: not measured, drawn as missing. */
  readonly values: readonly (readonly (number | null)[])[];
  /** Of the colours. On 'log' an exact 0 has a mark of its own. */
  readonly scale: 'log' | 'linear';
  /** What the colours' scale holds beside the values, so that strips compare. */
  readonly domain?: readonly [low: number, high: number];
  /** What the colours stand for: 'RMS of the loss gradient'. */
  readonly unit: string;
}

/** Histograms one above the other, each scaled to its own highest bin. */
export interface RidgesChart extends ChartBase {
  readonly type: 'ridges';
  readonly x: Axis;
  /** Bins of equal width from low to high; the first row is drawn at the top. */
  readonly rows: readonly { readonly name: string; readonly low: number; readonly high: number; readonly counts: readonly number[] }[];
}

/** A heat map of numbers, values[row][column], row 0 at the top. */
export interface MatrixChart extends ChartBase {
  readonly type: 'matrix';
  readonly values: readonly (readonly number[])[];
  readonly x: Axis;
  readonly y: Axis;
  /** Two hues that meet at 0, rather than one scale from the smallest to the largest. */
  readonly diverging: boolean;
}

/** Ways down a loss surface, over its contours. */
export interface PathChart extends ChartBase {
  readonly type: 'path';
  readonly x: Axis;
  readonly y: Axis;
  /** values[row][column] at (xs[column], ys[row]); xs and ys ascend in equal steps. */
  readonly loss: { readonly xs: readonly number[]; readonly ys: readonly number[]; readonly values: readonly (readonly number[])[] };
  readonly paths: readonly { readonly name: string; readonly points: readonly Point[] }[];
}

/** Bars by group; x names what the labels are, y what the values are. */
export interface BarsChart extends ChartBase {
  readonly type: 'bars';
  readonly x: Axis;
  readonly y: Axis;
  readonly groups: readonly {
    /** '' where there is only one group. */
    readonly name: string;
    readonly values: readonly { readonly label: string; readonly value: number; readonly low?: number; readonly high?: number }[];
  }[];
}

/** A dot for each measurement, with the range it varied in; y names what the values are, x what the rows are. */
export interface DotsChart extends ChartBase {
  readonly type: 'dots';
  readonly x: Axis;
  readonly y: Axis;
  /** A line across all rows, to compare with. */
  readonly reference?: { readonly value: number; readonly label: string };
  /** The values of the first are written beside its dots, followed by this. */
  readonly unit: string;
  readonly series: readonly string[];
  readonly groups: readonly {
    /** '' where there is only one group. */
    readonly name: string;
    readonly rows: readonly {
      readonly label: string;
      /** Of some of the series, by their numbers. */
      readonly dots: readonly { readonly series: number; readonly value: number; readonly low?: number; readonly high?: number }[];
    }[];
  }[];
}

/** Rows of text, as wide as they are. Columns of numbers are set to the right. */
export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Rates against operations a byte, under a machine's ceilings (Williams, Waterman, Patterson 2009); both axes are logarithmic. */
export interface RooflineChart extends ChartBase {
  readonly type: 'roofline';
  readonly x: Axis;
  readonly y: Axis;
  /** Operations a second, in the unit of y. */
  readonly peak: { readonly name: string; readonly value: number };
  /** Bytes a second, in the unit of y for one operation a byte. */
  readonly bandwidths: readonly { readonly name: string; readonly value: number }[];
  readonly points: readonly { readonly name: string; readonly x: number; readonly y: number }[];
}

export type Chart = LinesChart | StripChart | RidgesChart | MatrixChart | PathChart | BarsChart | DotsChart | RooflineChart;

export interface Section {
  /** Of the page's anchor: letters, digits, '-'; one a report. */
  readonly id: string;
  readonly title: string;
  /** One sentence that the section shows to hold, or not. */
  readonly claim: string;
  /** What was done. */
  readonly paragraphs: readonly string[];
  readonly figures: readonly Figure[];
  readonly charts: readonly Chart[];
  /** Below the charts, over the page's width. */
  readonly tables?: readonly Table[];
  readonly conclusion: string;
  /** The time it took; 0: not said. */
  readonly seconds: number;
}

/** A program of examples/lab: states a claim and shows it on real runs. */
export interface Experiment {
  readonly id: number;
  readonly title: string;
  readonly claim: string;
  /** @param options quick: a minute for all experiments together; note: a line for whoever waits */
  run(options: {
    readonly quick: boolean;
    readonly note: (text: string) => void;
  }): Promise<Omit<Section, 'id' | 'title' | 'claim' | 'seconds'>>;
}
