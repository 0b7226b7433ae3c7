// Text tables of the library: summary(), profile().

/** Lines with columns of equal width, the first so many aligned to the left, the others to the right. */
export function tableLines(rows: readonly (readonly string[])[], left: number): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((cells) => cells[column].length)));
  return rows.map((cells) =>
    cells
      .map((cell, column) => (column < left ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('   ')
      .trimEnd(),
  );
}

/** 1234567 → '1,234,567' */
export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
