// 'gradmill/kernels' everywhere but in Node.
import { usePlatform } from '../platform.js';
import { browser } from './platform.js';

usePlatform(browser);

export { gemm, type GemmOptions } from '../gemm.js';
