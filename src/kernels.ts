// 'gradmill/kernels' in Node: the bare kernels, for those who benchmark or compose them.
import { node } from './node/platform.js';
import { usePlatform } from './platform.js';

usePlatform(node);

export { gemm, type GemmOptions } from './gemm.js';
