// Written into dist/ by `npm run build` (wasm/embed.mjs) from the modules that ship: their bytes in base64.
export const simd: string;
export const threads: string;
